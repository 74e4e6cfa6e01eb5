# One image for every service; docker-compose.yml chooses the command.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE ./
# Dependencies first: they change less often than the code.
RUN uv sync --frozen --no-default-groups --no-install-project --compile-bytecode
COPY tradewind tradewind
COPY carbon_service carbon_service
COPY selector_service selector_service
COPY inference_proxy inference_proxy
COPY local_stack local_stack
COPY demo demo
COPY simulator simulator
COPY profiler profiler
COPY migrations migrations
RUN uv sync --frozen --no-default-groups --no-editable --compile-bytecode

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 tradewind && mkdir -p /var/lib/tradewind && chown tradewind /var/lib/tradewind
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER tradewind
WORKDIR /var/lib/tradewind
CMD ["tradewind", "--help"]
