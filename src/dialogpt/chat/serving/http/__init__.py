"""The server's HTTP side: routes, messages, limits, numbers. All of it, and nothing else, needs the extra `server`."""
