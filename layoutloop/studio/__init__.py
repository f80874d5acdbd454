"""Label Studio's side: its API and key, label configs, images of tasks, results to and from regions.

`client` alone calls its API: one address, no proxies, no redirects; only a GET is ever sent twice. `image_fetcher`
fetches images: `web_address` parses references, `addresses` resolves and connects in one step so that what was
checked is what is connected to, `web_request` sends, `api_key` holds the key and, where it is in a file
(`api_key_file`), reads that again when Label Studio refuses the key, `data_uri` decodes. `results`: percent, shared
ids, scores, clipped to the page. `drawn` is the way back, regions of the served controls alone; `rectangle`: where
they are, tilted or not.

`version` makes the string that Label Studio gets, `<stamp or "ocr">-<8 hex of label config, engine and thresholds>`:
one function for /setup and /predict, since Label Studio skips tasks that hold that string already and doubles
predictions when the two differ.
"""
