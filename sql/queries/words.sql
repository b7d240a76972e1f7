-- name: text_search
select rank, id, score, title, body, metadata
from pgretrieval.text_search(%(name)s, %(query_text)s, %(k)s, %(filter)s::jsonpath, {among})
