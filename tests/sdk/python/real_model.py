"""One call to a real model by OpenAI's Python SDK, as the first argument says.

Address and key are the SDK's own OPENAI_BASE_URL and OPENAI_API_KEY: the model's server or
Earmark in front of it. Exits with 0 when the call went as it should.
"""

import sys

import openai

MODEL = "smollm2-135m-instruct"
STORY = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
client = openai.OpenAI(timeout=300, max_retries=0)


def plain():
    reply = client.chat.completions.create(model=MODEL, messages=STORY, max_tokens=24)
    assert reply.choices[0].message.content
    assert 0 < reply.usage.completion_tokens <= 24
    print(f"{reply.usage.completion_tokens} tokens")


def story():
    # The model may not end by itself before the story is cut.
    return client.chat.completions.create(
        model=MODEL, messages=STORY, max_tokens=400, stream=True, extra_body={"min_tokens": 400}
    )


def streamed():
    chunks = client.chat.completions.create(
        model=MODEL, messages=STORY, max_tokens=24, stream=True
    )
    chunks = [chunk for chunk in chunks if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    print(f"{len(chunks)} chunks")


def cancelled():
    stream = story()
    for count, _ in enumerate(stream):
        if count == 5:
            break
    stream.close()
    print("cancelled")


def killed():
    count = 0
    try:
        for chunk in story():
            count += 1
            if count == 5:
                print("streaming", flush=True)
    except Exception as error:  # Which one depends on where the connection broke.
        print(f"died after {count} chunks: {type(error).__name__}: {error}")
        return
    raise AssertionError(f"the stream ended after {count} chunks as if it were whole")


def refused():
    try:
        plain()
    except openai.APIError as error:
        print(f"refused: {type(error).__name__}: {error}")
        return
    raise AssertionError("there was an answer without a model")


{action.__name__: action for action in (plain, streamed, cancelled, killed, refused)}[sys.argv[1]]()
