"""The service: an HTTP interface in the shape of the OpenAI Videos API, a stream of fragments, and a live page.

A request becomes an order (``orders``), the desk keeps orders in a store and hands them to one worker a device
(``desk``, ``store``, ``worker``), and whoever listens to a job hears of it while it runs (``listening``, ``stream``).
"""
