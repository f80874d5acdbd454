"""Tries every attack on the image fetcher against real servers on loopback and prints what became of it.

python -m benchmarks.image_attacks
"""

from __future__ import annotations

from benchmarks.timing import machine
from tests.attacks import ATTACKS, Outcome, tells_a_secret, try_attack
from tests.far_servers import open_stage


def outcome_to_text(outcome: Outcome) -> str:
    """The error with the time it took, or the alarm."""
    if outcome.error is None:
        return "**GOT BYTES**"
    leak = ", **MESSAGE TELLS A SECRET**" if tells_a_secret(str(outcome.error)) else ""
    return f"{type(outcome.error).__name__}, {outcome.seconds * 1000:.0f} ms{leak}"


def main() -> None:
    """Print a Markdown table, one attack a row."""
    print(machine())
    print("| attack | outcome | key seen by another host? | forbidden server asked? |")
    print("|---|---|---|---|")
    with open_stage() as stage:
        for attack in ATTACKS:
            outcome = try_attack(attack, stage)
            seen = ["**YES**" if flag else "no" for flag in (outcome.key_elsewhere, outcome.stranger_asked)]
            print(f"| {attack.name} | {outcome_to_text(outcome)} | {seen[0]} | {seen[1]} |")


if __name__ == "__main__":
    main()
