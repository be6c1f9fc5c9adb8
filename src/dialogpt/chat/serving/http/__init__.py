"""The server's HTTP side: routes, messages, limits, numbers. It and `backend`, nothing else, need the extra `server`."""
