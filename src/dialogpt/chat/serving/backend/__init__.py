"""Another engine makes the hypotheses (`serve --backend URL`): vLLM, llama.cpp's server, Ray Serve, or one of ours.

`wire` is what is sent and what comes back, `client` the requests and what can go wrong with them, `drawing` a context's
hypotheses; `meeting` finds out at the start what the engine can do, `backend` is the replier that judges and orders
what it makes, `opening` puts them together from the command's settings.
"""
