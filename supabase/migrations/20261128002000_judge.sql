-- Grades of answers, for `rowcall eval --judge`: a worker makes these rows itself.
insert into rowcall.kinds (kind, by_clients, required_input, lane) values ('judge', false, '{question,answer}', 'bulk');
