"""The HTTP side: routes, messages, limits, numbers. It, `backend` and `watch` alone need the extra `server`."""
