# One image for intake and worker: `rowcall intake`, `rowcall worker`. Built by docker-compose.yml.
FROM python:3.13-slim AS dependencies
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > dependencies.txt

FROM python:3.13-slim AS build
WORKDIR /build
RUN python3 -m venv /opt/rowcall
ENV PATH=/opt/rowcall/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# First, and from a stage of their own: only a change of what is listed installs the dependencies again.
COPY --from=dependencies /build/dependencies.txt /build/constraints.txt ./
RUN pip install --constraint constraints.txt --requirement dependencies.txt
COPY pyproject.toml README.md ./
COPY jobs jobs
COPY worker worker
# The vocabulary for counting tokens and the prompts are files of the package: nothing is fetched when a worker starts.
RUN pip install --no-deps . \
 && python -c "from worker.adapters.tokens import count_tokens; assert count_tokens('Insert a row.') == 4" \
 && python -c "from worker.app import read_prompts; assert 'answer' in read_prompts()"

FROM python:3.13-slim
COPY --from=build /opt/rowcall /opt/rowcall
# A worker multiplies small matrices: threads of numpy would only take processors from other workers.
ENV PATH=/opt/rowcall/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
WORKDIR /app
COPY rowcall.toml ./
USER 10001:10001
ENTRYPOINT ["rowcall"]
CMD ["worker"]
