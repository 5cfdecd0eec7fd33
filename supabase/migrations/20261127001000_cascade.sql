-- A cascade holds a cheap route's answer back until it is checked. What it failed stands beside the call, which succeeded and is paid for:
-- null: it was not checked; empty: it passed, and was given; else another route was asked in its place, if one was to be had.
alter table rowcall.calls add column failed_checks text[];
