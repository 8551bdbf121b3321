"""The service: an HTTP interface in the shape of the OpenAI Videos API, a stream of fragments, and a live page.

A request is checked (``auth``, ``body``, ``schemas``) and becomes a job of the queue (``queue``, ``job_store``), which
hands it to one worker a device (``worker``, ``models``). A stream watches its job while it runs (``websocket``).
"""
