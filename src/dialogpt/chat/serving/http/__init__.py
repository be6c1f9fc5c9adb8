"""The server's HTTP side: routes, messages, limits, numbers. It and `backend` alone need the extra `server`."""
