"""The HTTP side: routes, messages, numbers. It, `backend` and `watch` alone here need the extra `server`."""
