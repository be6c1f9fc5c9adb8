"""A small Reddit month, written for these tests: six threads of small talk; two blanks of indent make a reply.

`python tests/data/mini_dump.py OUTDIR` writes RC_2015-01.bz2 and RS_2015-01.gz. As in a real month, some comments are
deleted, removed, by a bot, or hold a URL.
"""

import bz2
import gzip
import json
import re
import sys
from pathlib import Path

THREADS = r"""
AskReddit | nora (12): What is the best thing you cooked this week?
  tomas (8): A big pot of lentil soup. It lasted me four days.
    nora (5): Lentil soup is so underrated. Do you put cumin in yours?
      tomas (4): Always. Cumin, a bit of lemon, and way too much garlic.
        ines (3): There is no such thing as too much garlic.
          tomas (6): Tell that to the people on my bus.
        paul (2): I add a spoon of vinegar at the end, you should *really* try it.
    ivan (0): Soup is not a meal.
  greta (7): Pancakes, but I burned the first three.
    paul (3): The first one never counts anyway.
      greta (3): By that logic I made **zero** bad pancakes.
        paul (2): Exactly. Flawless week.
  lee (4): Does cereal count?
    nora (9): Only if you warmed the milk.
      lee (5): Then no. I am ashamed.
  AutoModerator (1): Please remember to read the rules of this community before you post.
  omar (3): [deleted]
    nora (2): I am sorry to hear that, better luck next time!
      omar (2): Thank you, I will try again on Sunday.
        nora (1): Good plan, let us know how it goes.

movies | sami (30): Which film do you watch again every year?
  ana (11): Groundhog Day, of course. On the second of February.
    sami (6): That is perfect. Every single year?
      ana (7): Every single year, again and again and again.
        bo (4): I see what you did there.
  bo (5): Die Hard. It is a Christmas film and I will not argue about it.
    ana (3): &gt; It is a Christmas film\n\nIt really is not, and you know it.
      bo (2): See, this is me not arguing.
        ana (2): You are doing great :)
  kim (2): My list is at https://example.com/films if anybody cares.
    sami (1): I do care! That is a fine list.
      kim (1): Thanks, it took me years.

learnprogramming | dev_dan (9): My first program works and I do not know why
  ursula (14): Welcome to the club. It never gets better.
    dev_dan (5): Is it at least easier to find out why it breaks?
      ursula (8): It breaks when you show it to somebody. That much we know.
        dev_dan (4): I showed it to my cat and it still runs.
          ursula (6): Cats are very forgiving reviewers.
  milo (3): Did you try `print` on every line? Helps me a lot.
    dev_dan (2): I did, and then it stopped working.
      milo (3): Take the prints out again :D
  milo (1): [removed]

books | wen (6): 最近読んだ本で一番好きなのは?
  aki (5): 先週「こころ」を読み終わりました。とても静かで、悲しい本でした。
    wen (4): 私も好きです。先生の手紙のところが忘れられません。
      aki (3): そうですね。もう一度読みたいです😊
  lena (4): Я сейчас перечитываю «Мастера и Маргариту», уже третий раз.
    wen (2): И как, нравится по-прежнему?
      lena (3): Даже больше, чем в первый раз!
  huda (5): أقرأ الآن رواية «موسم الهجرة إلى الشمال»، وهي رائعة.
    lena (2): هل تنصحين بها لمن يتعلم العربية؟
      huda (4): نعم، لكن ابدئي بقصص قصيرة أولاً.

running | fay (10): I ran my first ten kilometres today!
  gus (8): Congratulations! How do your legs feel?
    fay (6): Like two boiled noodles 🍜 but happy noodles.
      gus (4): That is the right kind of noodle.
      hana (3): Drink water, sleep a lot, and skip tomorrow.
        fay (5): I will skip the whole week if you insist.
          hana (2): I insist on one day. The rest is between you and your noodles.
  hana (4): no no no no, you have to tell us the time as well!
    fay (7): One hour and nine minutes. Please clap.
      gus (3): Clapping so loud right now.
  ivan (-3): Anybody can run ten kilometres.

pets | jo (5): [Photo] My dog has learned to open the fridge
  kai (7): What does he take first?
    jo (9): Cheese. Always the cheese. Never the carrots.
      kai (6): A dog of taste.
        jo (4): He closes the door again, so I can not even be angry.
          mia (5): He is a better flatmate than my last one.
  mia (3): You could put a bell on the door.
    jo (2): Then he would learn to ring for service.
"""


LINE = re.compile(r"(?P<indent> *)(?:(?P<subreddit>\w+) \| )?(?P<author>\w+) \((?P<score>-?\d+)\): (?P<text>.+)")


def records() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The comments and the submissions, as a dump has them."""
    comments: list[dict[str, object]] = []
    submissions: list[dict[str, object]] = []
    above: list[str] = []  # full names of the posts above the next line
    for number, line in enumerate(filter(None, THREADS.splitlines())):
        match = LINE.fullmatch(line)
        assert match, line
        depth = len(match["indent"]) // 2
        submission = depth == 0
        del above[depth:]
        record = {
            "id": _base36(36**5 + 7 * number),
            "author": match["author"],
            "subreddit": match["subreddit"] or submissions[-1]["subreddit"],
            "score": int(match["score"]),
            "created_utc": 1_420_070_400 + 600 * number,
            "stickied": False,
            "distinguished": None,
        }
        if submission:
            submissions.append(record | {"title": match["text"], "selftext": "", "num_comments": 3})
        else:
            body = match["text"].replace(r"\n", "\n")
            comments.append(record | {"body": body, "parent_id": above[-1], "link_id": above[0]})
        above.append(f"{'t3' if submission else 't1'}_{record['id']}")
    return comments, submissions


def write_mini_dump(folder: Path) -> tuple[Path, Path]:
    """Write the month to a folder; the paths of the comments' and the submissions' file."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "RC_2015-01.bz2", folder / "RS_2015-01.gz"
    for path, found, compress in zip(paths, records(), (bz2.compress, gzip.compress), strict=True):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found)
        path.write_bytes(compress(lines.encode()))
    return paths


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/data/mini_dump.py OUTDIR")
    for written in write_mini_dump(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
