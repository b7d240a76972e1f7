-- Runs last at every migration: which version of the functions this database has, so that opening it need not create them again.
comment on schema pgretrieval is 'functions DIGEST';
