"""What a search costs beyond its model passes: one file a question, ratios measured side by side in one run."""
