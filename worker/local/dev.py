"""`rowcall dev`: the embedded stack in the foreground."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console

from worker.local.errors import StackError
from worker.local.stack import Stack
from worker.local.wiring import StackConfig

LOOK_EVERY_S = 0.2

READY = """
Rowcall runs at {url}

  SUPABASE_URL              {url}
  SUPABASE_PUBLISHABLE_KEY  {publishable_key}
  SUPABASE_SECRET_KEY       {secret_key}
  database                  {db_url}
  redis                     {redis_url}

In another terminal, in this folder

{activate}  rowcall ingest docs
  rowcall ask "What is a fencing token?"
  rowcall status --watch
  rowcall sql

JavaScript

  import {{ createClient }} from '@supabase/supabase-js'
  const key = '{publishable_key}'
  const supabase = createClient('{url}', key)
  await supabase.auth.signUp({{ email: 'you@example.com', password: 'a long one' }})
  const question = {{ input: {{ question: 'What is Rowcall?' }} }}
  const generations = supabase.schema('rowcall').from('generations')
  console.log(await generations.insert(question).select('id').single())

Python

  from supabase import create_client
  key = "{publishable_key}"
  supabase = create_client("{url}", key)
  supabase.auth.sign_up({{"email": "you@example.com", "password": "a long one"}})
  question = {{"input": {{"question": "What is Rowcall?"}}}}
  generations = supabase.schema("rowcall").table("generations")
  print(generations.insert(question).execute().data)

Logs are in {logs}. Ctrl-C stops everything.
"""


def run_dev(config: StackConfig, console: Console, *, as_json: bool = False) -> int:
    """Runs until Ctrl-C, SIGTERM or SIGHUP (exit code 0), or until a part dies or the start fails (1).

    As JSON standard output gets one line, once everything serves: the variables that speak to the stack.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with Stack(config, lambda part, elapsed_s: console.print(f"{elapsed_s:6.2f} s  {part}")) as stack:
            if as_json:
                sys.stdout.write(json.dumps(stack.wiring.operator_environment) + "\n")
                sys.stdout.flush()
            else:
                console.print(readiness_text(stack), markup=False, highlight=False, soft_wrap=True)
            while True:
                stack.check()
                time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        console.print("stopped")
        return 0
    except StackError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=not console.is_terminal)
        return 1


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def readiness_text(stack: Stack) -> str:
    activate = "" if shutil.which("rowcall") else f"  . {Path(sys.prefix, 'bin', 'activate')}\n"
    return READY.format(
        activate=activate,
        url=stack.url,
        publishable_key=stack.publishable_key,
        secret_key=stack.secret_key,
        db_url=stack.db_url,
        redis_url=stack.redis_url,
        logs=stack.config.state_dir / "logs",
    )
