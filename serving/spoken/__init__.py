"""Spoken and written values: the one parser of numbers, money, rates, terms, dates and ids.

Slots, the cache signature, tools, redaction and the entity errors of WER all read values through
`parse`; text on its way to a voice becomes words through `verbalise`.

Where speech is ambiguous, the reading is fixed here, and the tests hold it:

* A bare number is a COUNT. It is MONEY after a word for money ("borrow", "payment of") with no noun behind
  it, or before a term or rate ("500 over two years"); it is a RATE after "rate", "apr", "interest".
* "grand" and "k" always mean money; digits with `m` directly behind them mean millions.
* "nineteen ninety nine" is 19.99 after a word for a price ("cost", "paid"), 1999 where no amount is meant;
  "two fifty" is always 250. Numbers in a row that may be one amount or another are none: a loan of "two
  seventy five", "twelve fifty dollars", "two fifty thousand", "two three years", "5-3 years".
* A hyphen or a sound inside of a number says nothing ("two-hundred", "two uh hundred"), but "two-three years"
  are two terms and "ten-twelve thousand" two amounts. "twenty odd thousand", "a few hundred" are none, nor is
  what follows a word that was not understood ("twentyfive thousand").
* "k" behind a number is a thousand unless two letters follow it: "5k a month", but "10 k y c forms".
* "a point five" is half of a unit that follows ("percent", "million") and nothing without one.
* `$20 CAD` are Canadian dollars; a sign and a name that disagree ("$20 EUR", "R$20") are no amount. "$1.5 M",
  "$2b" are millions and billions.
* "six nine nine apr" is 6.99 per cent; a rate is per cent even below one ("a rate of 0.5").
* "a year" is a term only where it is not "per year"; "years old" is a COUNT. Half a month is 15 days.
* A spoken number beyond 100 years, or a rate beyond 1,000 %, was two numbers ("twenty thousand | sixty
  months"). "five to seven years", "36, 48 or 60 months" share their unit.
* "five dollars ten" has ten cents.
* Nothing below zero is a value: "minus fifty dollars", "-$50" are none. Figures whose marks could mean two
  things are none either: "20,50 dollars", "1,5 percent", "20.000 dollars", "1e5".
* The answer to a question for a term may leave out the unit: 60 is months, 5 is years (see `context`).
* `$` and "dollars" are the caller's own dollars, else US dollars; cents are the caller's currency. A bare
  amount has the currency of the only other one in the text.
* A day without a year is the next such day when today is known, else it has the year `NO_YEAR`. 5/3 is
  month first for US dollars, day first otherwise. "next friday" is in the next week (Monday to Sunday).
  "may" and "march" before a bare number are dates only after "on", "by" and the like.
* 12-05-03 is no date (it may be a sort code), 12/05/03 is; in a date of birth both are.
* Two digits of a year are of this century, in a date of birth the last such year.
* Digits in a row are one string. Six or more are personal, whatever else they might be: CARD where 12 to 19
  of them pass the Luhn check, else ACCOUNT (also a card number with an error in it). Exempt are numbers with
  a magnitude word, a currency or unit, grouping commas (up to 11 digits), and whole thousands after
  "borrow", "loan of" or before "over", "at".
* In a digit string "forty two seventeen" is 4217, "twenty five" is 25, "oh" is zero (alone it is no number),
  sounds ("uh"), "dash", and between spelled digits words such as "and then" are passed over.
* After "pin", "code", "last four", "ending in", "expires", "zip" 3 to 8 digits are a CODE. Four digits right
  after "card" are its last ones.
* Between digits read out one by one, "to", "for", "ate", "won" are digits where the whole has six or more
  digits or follows a cue, and no unit follows; between two numbers of six digits or more they separate.
* "one" is no number where it stands for a thing ("this one", "get one").
* NAME needs a cue; weak ones ("this is", "it's for") also need "speaking" or "calling", two capitals, or a
  common given name.
  A common given name alone is one before "here" or "speaking", after "pay" or "send it to", or written
  "Maria Lopez".
  Also one: what opens a turn before "speaking" or after "i'm" in two words, what is "my name", what is
  spelled ("s m i t h", "s as in sam", NATO words) beside itself or in four letters or more.
* After a cue of birth, months may be numbers ("the third of the fifth"), the year may come first.
* With `expect`, any few bare digits, and any piece of an e-mail address, are of what was asked for.
* ADDRESS is a house number, up to three words, and "street" or its like; SECRET is what a password "is".
"""

from serving.spoken.calendar import NO_YEAR
from serving.spoken.parser import entities, parse
from serving.spoken.say import (
    say_date,
    say_decimal,
    say_digits,
    say_integer,
    say_money,
    say_ordinal,
    say_rate,
    say_term,
)
from serving.spoken.text import PLACEHOLDER
from serving.spoken.values import PERSONAL, Kind, TypedValue, Value
from serving.spoken.verbalise import verbalise

__all__ = [
    "NO_YEAR",
    "PERSONAL",
    "PLACEHOLDER",
    "Kind",
    "TypedValue",
    "Value",
    "entities",
    "parse",
    "say_date",
    "say_decimal",
    "say_digits",
    "say_integer",
    "say_money",
    "say_ordinal",
    "say_rate",
    "say_term",
    "verbalise",
]
