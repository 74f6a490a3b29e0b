#!/usr/bin/env bash
# `make demo`: one real pipeline through all the services on this machine, and what to try next.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PWD/.venv/bin:$PATH"

run="digits-$(date -u +%Y%m%d-%H%M%S)"
started=$SECONDS
flyte run --name "$run" examples/digits/digits.py main
cat <<END

That took $((SECONDS - started)) s. The backend keeps running, so the next run is faster. Try:

  . .venv/bin/activate                                    # puts flyte and hangar on your PATH
  flyte get action $run             # every action of this run
  flyte get io $run                 # its inputs and outputs
  flyte get logs $run               # what it printed
  flyte run examples/concepts/pipeline.py pipeline --x 5  # tasks calling tasks
  python examples/wordcount/wordcount.py README.md LICENSE
  flyte status                                            # is the backend up, and where
  flyte stop                                              # stop it; runs and results are kept
END
