# `dialogpt` with its server and bots, for CPUs: the native engine, without torch and without a compiler.
#
#   docker build --tag dialogpt .
#   docker run --publish 127.0.0.1:8000:8000 dialogpt
#   docker run --env DIALOGPT_TELEGRAM_TOKEN --volume dialogpt:/data dialogpt bot telegram
#
# docs/serving.md, "In a container", says more.

FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ python3-venv
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/dialogpt \
    && /opt/dialogpt/bin/pip install --no-cache-dir ".[server,bots]" \
    && /opt/dialogpt/bin/pip uninstall --yes pip
# An installation without the engine is none here, as there is no torch.
RUN /opt/dialogpt/bin/python -c "from dialogpt.native.library import library; library()"

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --home-dir /data --no-create-home dialogpt \
    && install --directory --owner dialogpt /data
COPY --from=build /opt/dialogpt /opt/dialogpt
ENV PATH=/opt/dialogpt/bin:$PATH DIALOGPT_DATA=/data XDG_CACHE_HOME=/data/cache
# a number, so that Kubernetes can tell that it is not root
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 8000
# A bot has no port to ask.
HEALTHCHECK --start-period=60s --timeout=10s CMD ! grep -qzx serve /proc/1/cmdline || \
    python3 -c "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health')"
ENTRYPOINT ["dialogpt"]
CMD ["serve", "--host", "0.0.0.0"]
