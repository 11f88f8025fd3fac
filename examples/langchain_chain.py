"""A pyramid inside a LangChain chain: nothing else in the chain changes.

Put your own chat models in place of the embedded ones; needs the extra `langchain`.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_pyramid import ChatPyramid, embedded_chat_crowd, embedded_chat_oracle


def main() -> None:
    llm = ChatPyramid(crowd=embedded_chat_crowd(), oracle=embedded_chat_oracle(), router="embedded")
    prompt = ChatPromptTemplate.from_template(
        "{name} has {n} {things}. Soon she has {k} times as many. How many {things} does {name} have now?"
    )
    chain = prompt | llm | StrOutputParser()
    asked = [
        {"name": "Ida", "n": 9, "things": "pears", "k": 4},
        {"name": "Eva", "n": 17, "things": "stamps", "k": 6},
    ]
    for given, answer in zip(asked, chain.batch(asked), strict=True):
        print(f"{given['n']} {given['things']}, {given['k']} times as many: {answer.strip()}")

    message = (prompt | llm).invoke(asked[0])
    record = message.response_metadata["pyramid"]
    print(f"{record['verdict']} by {record['rule']}: {record['reason']}")
    print(f"tokens by model: {record['usage']}")


if __name__ == "__main__":
    main()
