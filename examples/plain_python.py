"""A pyramid in plain Python, over the models that ship inside the package.

A member is anything with a `name` and `ask(query) -> Answer`, so your own client fits in place of `embedded_crowd`.
"""

from pyramid_core import Pyramid, routing_record
from pyramid_core.embedded import embedded_crowd, embedded_oracle
from pyramid_core.embedded.problems import problems


def main() -> None:
    pyramid = Pyramid(crowd=embedded_crowd(), oracle=embedded_oracle(), router="embedded")
    for problem in problems(seed=5, n=4):
        outcome = pyramid.ask(problem.question)
        record = routing_record(outcome.trace)
        print(problem.question)
        print(f"  {record['answered_by']}: {outcome.answer.text.strip()} (right is {problem.answer})")
        print(f"  {record['verdict']}: {record['reason']}; {record['cost']['usd']:.1e} USD")


if __name__ == "__main__":
    main()
