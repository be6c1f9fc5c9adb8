"""Two models talk with each other, or one with itself, so that settings can be judged by watching."""

from collections.abc import Callable

from dialogpt.chat import ChatConfig
from dialogpt.chat.bot import BOT, USER, Chatbot
from dialogpt.chat.keeping import Keeper
from dialogpt.decoding.loading import with_companion
from dialogpt.errors import UsageError
from dialogpt.session import Turn

SAME = "same"


def self_play(bot: Chatbot, config: ChatConfig, keeper: Keeper, say: Callable[[str], None]) -> None:
    """The other model says the opening; then each replies to all that was said, in turn."""
    if config.turns < 2:
        raise UsageError(f"--turns {config.turns} is below 2", "the opening is the first turn")
    responder = bot.responder
    if config.self_play != SAME:
        settings = with_companion(config, config.self_play)
        responder = Chatbot.load(config.self_play, settings=settings, device=config.device).responder
    said = [config.opening]
    speakers = [USER, BOT]  # the other one, and the model
    for number in range(config.turns):
        speaker = speakers[number % 2]
        if number:
            mine = bot.responder if speaker == BOT else responder
            context = [Turn(text, speakers[place % 2]) for place, text in enumerate(said)]
            said.append(mine.reply(context, bot.draw_seed())[0].text)
        say(f"{'B' if speaker == BOT else 'A'}: {' '.join(said[-1].split())}\n")
        keeper.add([Turn(said[-1], speaker)])
