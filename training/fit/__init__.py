"""Examples become a checkpoint: the base it starts from, the plan, and the process that trains.

`plan` is what is trained (base, labels, recipe, seed), fixed at the first attempt. `process` starts and follows
`python -m training.fit.train` (torchrun where there are several GPUs); `progress` is the file between the two;
`callback` writes it from the Trainer's events. The Trainer's checkpoints are in `steps/`; `checkpoint/` is renamed
into place when it is whole.

`documents_base` makes a base that has seen generated documents, by command.

Bases: `graft` grows a LayoutLMv3 out of a text encoder (`text_encoders`: BERT, RoBERTa, XLM-RoBERTa, MPNet). Its
weights are copied; places get wave embeddings and each head a rule for where it looks (along the line, around,
anywhere), so that few pages suffice. A LayoutLMv3 or LiLT checkpoint gets a new head. Each kind of base has its own
recipe.

`windows` cuts examples with serving's own Encoder, so that a word is learned in the window that will answer for it.
`variation`, and the jitter in `windows`: grafts and scratch see each page with other digits and names and moved a
little at every pass; a checkpoint is trained as in the well-known notebook of LayoutLMv3. `trainer` is Hugging Face's
Trainer with two learning rates and an evaluation that gives entity F1 as serving would have it.
"""
