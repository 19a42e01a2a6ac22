"""Small stories in English from a grammar of our own: text to model where no file is at hand."""

import numpy as np

from elegans.ops.rng import numpy_rng

_HEROES = {
    "she": ("Anna", "Clara", "Edith", "Gemma", "Irene", "Karin", "Maria", "Olga", "Ruth", "Vera"),
    "he": ("Boris", "David", "Felix", "Henry", "Jonas", "Lukas", "Noah", "Peter", "Samuel", "Walter"),
}
_POSSESSIVE = {"she": "her", "he": "his"}
_PLACES = ("harbor", "garden", "library", "market", "mountain", "river", "school", "station", "village", "workshop")
_THINGS = (
    "basket",
    "book",
    "clock",
    "key",
    "lamp",
    "letter",
    "map",
    "mirror",
    "painting",
    "stone",
    "umbrella",
    "violin",
)
_LOOKS = ("black", "blue", "broken", "golden", "green", "heavy", "old", "red", "silver", "small", "strange", "white")
_MOODS = ("afraid", "angry", "curious", "glad", "proud", "sad", "surprised", "tired")
_TIMES = ("In the morning", "At noon", "In the evening", "At night", "After a while", "The next day")
_FINDS = ("found", "saw", "lost", "bought", "forgot", "hid", "remembered", "dropped")
_WEATHER = ("It was raining", "The sun was shining", "The wind was cold", "Snow was falling", "The air was warm")

_OPENINGS = (
    "{hero} lived near the {place} with {friend}.",
    "Once {hero} walked to the {place} to meet {friend}.",
    "{friend} had told {hero} about the {place}.",
)
_MIDDLES = (
    "{time} {she} {found} {a_thing} at the {place}.",
    "{weather}, and {hero} was {mood}.",
    '"Whose {thing} is this?" asked {friend}.',
    '"This {thing} is mine," said {hero}.',
    "{friend} looked at the {look} {thing} and was {mood}.",
    "{time} {hero} and {friend} went back to the {place}.",
    "{she_} put the {thing} into {her} bag.",
    "There were {number} {look} {things} in the {place}, but none of them was like {her} {thing}.",
    "{hero} gave the {thing} to {friend}, who was {mood}.",
    "{weather} when {she} left the {place}.",
)
_ENDINGS = (
    "So {hero} kept the {look} {thing}, and {friend} went home.",
    "{hero} never went to the {place} again.",
    "From that day the {thing} stood in the house of {friend}.",
)
_NUMBERS = ("two", "three", "four", "five", "seven", "ten", "twelve")


def story(seed: int, number: int) -> str:
    """Story `number` of collection `seed`: one line per paragraph, with one hero, one friend, one place, one thing."""
    rng = numpy_rng("stories", seed, number)

    def pick(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words))]

    she = pick(("she", "he"))
    hero = pick(_HEROES[she])
    friend = pick(tuple(name for names in _HEROES.values() for name in names if name != hero))
    thing, place, look = pick(_THINGS), pick(_PLACES), pick(_LOOKS)

    def sentence(templates: tuple[str, ...]) -> str:
        other = pick(_LOOKS)
        return pick(templates).format(
            hero=hero,
            friend=friend,
            she=she,
            she_=she.capitalize(),
            her=_POSSESSIVE[she],
            place=place,
            thing=thing,
            things=thing + "s",
            look=look,
            a_thing=f"{'an' if other[0] in 'aeiou' else 'a'} {other} {thing}",
            mood=pick(_MOODS),
            time=pick(_TIMES),
            found=pick(_FINDS),
            weather=pick(_WEATHER),
            number=pick(_NUMBERS),
        )

    middles = [sentence(_MIDDLES) for _ in range(_count(rng))]
    half = len(middles) // 2
    paragraphs = [[sentence(_OPENINGS), *middles[:half]], [*middles[half:], sentence(_ENDINGS)]]
    return "\n".join(" ".join(paragraph) for paragraph in paragraphs)


def _count(rng: np.random.Generator) -> int:
    return int(rng.integers(4, 11))
