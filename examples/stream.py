"""Streaming: nothing goes out before the decision, and what has gone out is never taken back.

An accepted answer is replayed at once; an escalated one comes live from the oracle.
"""

from pyramid_core import Pyramid, Token
from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import problems


def main() -> None:
    pyramid = Pyramid(crowd=embedded_crowd(), oracle=embedded_oracle(), router="embedded")
    for problem in problems(seed=5, n=4):
        print(problem.question)
        for item in pyramid.stream(problem.question):
            if isinstance(item, Token):
                print(item.text, end="", flush=True)
            else:
                how = "replayed" if item.trace.began is None else "live"
                print(f"\n  by {item.answer.member}, {how}, after {item.trace.at:.3f} s")


if __name__ == "__main__":
    main()
