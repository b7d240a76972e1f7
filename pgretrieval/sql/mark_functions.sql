-- Runs last at every migration: which set of functions this database has, so that opening it need not create them again, and an older
-- client does not put its own in their place.
comment on schema pgretrieval is 'functions DIGEST NUMBER';
