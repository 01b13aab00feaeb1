"""
A backend in Python, which calls /notify through the client that its arguments name. It reads orders from standard input, a line
each: a count, and whether the calls are made `at once` or `in turn`. Of each order it prints how many calls ended how.
"""

import asyncio
import collections
import concurrent.futures
import functools
import json
import pathlib
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).with_name("python")))

import httpx  # noqa: E402
import requests  # noqa: E402

client, url, key = sys.argv[1:4]
headers = {"X-API-Key": key}
message = {"msg": "from Python", "channel": "msf"}
patience = 60
# Not one for each call, as httpx.post would make it: it takes long, and is not used.
context = ssl.create_default_context()


def outcome(post):
    try:
        answer = post(url, json=message, headers=headers, timeout=patience)
        answer.json()
        return answer.status_code
    except Exception as error:
        return repr(error)


def in_turn(post, count):
    return [outcome(post) for _ in range(count)]


def at_once(post, count):
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: outcome(post), range(count)))


def synchronous(post):
    return lambda count, way: (at_once if way == "at once" else in_turn)(post, count)


def asynchronous():
    loop = asyncio.new_event_loop()
    pool = httpx.AsyncClient(headers=headers, timeout=patience)

    async def one():
        try:
            return (await pool.post(url, json=message)).status_code
        except Exception as error:
            return repr(error)

    async def all_of(count, way):
        if way == "at once":
            return await asyncio.gather(*(one() for _ in range(count)))
        return [await one() for _ in range(count)]

    return lambda count, way: loop.run_until_complete(all_of(count, way))


run = {
    "requests": lambda: synchronous(requests.post),
    "requests.Session": lambda: synchronous(requests.Session().post),
    "httpx": lambda: synchronous(functools.partial(httpx.post, verify=context)),
    "httpx.Client": lambda: synchronous(httpx.Client().post),
    "httpx.AsyncClient": asynchronous,
}[client]()

for order in sys.stdin:
    count, way = order.strip().split(" ", 1)
    print(json.dumps(collections.Counter(str(one) for one in run(int(count), way))), flush=True)
