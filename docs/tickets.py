"""Write invented support tickets as CSV to standard output, for docs/walk-through.md.

`python docs/tickets.py [ROWS] [SEED]`: the same numbers give the same tickets.
"""

import csv
import sys
from random import Random

OPENINGS = ["Hello,", "Hi team,", "Good morning,", "Urgent:", "", "Dear support,"]
CLOSINGS = ["Please help.", "Thanks!", "Can somebody look at this?", "", "Best, {name}", "- {name}"]
PROBLEMS = {
    "billing": [
        "I was charged {amount} twice in {month}",
        "the invoice for {month} shows {amount}, but we agreed on less",
        "our card was declined although it is valid until next {month}",
        "when do I get the {amount} back that you promised in {month}",
        "the tax on the last bill is wrong",
        "please send the receipt for {month} to our accountant",
        "why did the price of the {plan} plan rise by {amount}",
    ],
    "bug": [
        "the app closes as soon as I open the {page} page",
        "since the update in {month}, the {page} page stays blank",
        "exporting the {page} gives an empty file",
        "dates on the {page} page are one day off",
        "saving fails with error {number}",
        "the search finds nothing that was added after {month}",
        "scrolling the {page} page freezes my phone",
    ],
    "account": [
        "I cannot sign in since {month}, and the reset mail never arrives",
        "how do I add {name} to our team",
        "please change the address of our account to {name}@example.com",
        "my colleague {name} has left, who becomes the owner of the account",
        "I want to delete my profile and all of its data",
        "two-factor codes are rejected on my new phone",
        "can we move from the {plan} plan to a team account",
    ],
}
VALUES = {
    "amount": ["12 euros", "$49", "99.90", "120 dollars"],
    "month": ["January", "March", "June", "October"],
    "name": ["Ana", "Bogdan", "Chidi", "Dana", "Emre"],
    "number": ["403", "500", "1042"],
    "page": ["report", "calendar", "settings", "customer list"],
    "plan": ["basic", "premium"],
}


def ticket(random: Random, kind: str) -> str:
    """Return an invented ticket of this kind."""
    problems = random.sample(PROBLEMS[kind], random.choice([1, 1, 2]))
    parts = [random.choice(OPENINGS), ". Also, ".join(problems) + ".", random.choice(CLOSINGS)]
    values = {name: random.choice(choices) for name, choices in VALUES.items()}
    return " ".join(part.format(**values) for part in parts if part)


def main(rows: int = 300, seed: int = 1) -> None:
    """Write `rows` tickets with the columns id, body, kind."""
    random = Random(seed)
    table = csv.writer(sys.stdout)
    table.writerow(["id", "body", "kind"])
    for number in range(1, rows + 1):
        kind = random.choice(list(PROBLEMS))
        table.writerow([number, ticket(random, kind), kind])


main(*map(int, sys.argv[1:]))
