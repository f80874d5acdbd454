"""The loop to look at: generated invoices, a real Label Studio, and the steps that a person would take.

`run` is the steps, each a command that a person could type; `studio` and `layoutloop` start and stop the two servers;
`projects` does through Label Studio's API what a person does in its screen. Nothing of the demo lies outside its
folder, which one demo holds at a time. `invoices` and what it imports draw the pages.
"""
