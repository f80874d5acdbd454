"""A generator of synthetic invoices, to try the loop on."""
