"""Ask many questions, and write the answers to a CSV file: `batch.py questions.txt answers.csv`."""

import concurrent.futures
import csv
import pathlib
import sys

from gpt_agent_fsm import Assistant, Runtime
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.errors import RunError, WaitTimeout

ASSISTANTS = {"expert": Assistant("gpt-4o", "Answer in one sentence.")}
AT_ONCE = 20


def ask(runtime: Runtime, question: str) -> tuple[str, str, int]:
    """Ask a question on a new thread. Return the question, its answer and the number of tokens used."""
    agent = runtime.start("expert")
    try:
        answer = agent.ask(question, timeout=300)
    except (RunError, WaitTimeout) as error:
        return question, f"No answer: {error}", 0
    finally:
        agent.shutdown()
    return question, answer.text, answer.usage.total_tokens


def show_progress(done: int, of: int) -> None:
    """Draw a progress bar in place of the previous one."""
    filled = 40 * done // of
    print(f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{of}", end="", file=sys.stderr, flush=True)


def main(questions_file: str, answers_file: str) -> None:
    """Ask the question in each line of a file, and write the answers to another file."""
    questions = pathlib.Path(questions_file).read_text(encoding="utf-8").splitlines()
    with (
        Runtime(ResponsesBackend(assistants=ASSISTANTS)) as runtime,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
        open(answers_file, "w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["question", "answer", "tokens"])
        waiting = [pool.submit(ask, runtime, question) for question in questions]
        for done, answer in enumerate(concurrent.futures.as_completed(waiting), 1):
            rows.writerow(answer.result())
            show_progress(done, len(questions))
    print(file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
