import pytest

from notus_exp.disk.credentials import without_credentials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:s3cret@host:5432/optuna", "postgresql://***@host:5432/optuna"),
        ("mysql+pymysql://me:p@ss@host/db", "mysql+pymysql://***@host/db"),
        ("postgresql://me:a/b#c@host/db", "postgresql://***@host/db"),
        ("https://token@host/v1", "https://***@host/v1"),
        ("study.search.storage=postgresql://me:s3cret@host/db", "study.search.storage=postgresql://***@host/db"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://host/a@b", "https://host/a@b"),
        ("sqlite:////folder/optuna.db", "sqlite:////folder/optuna.db"),
        ("write to me@example.org", "write to me@example.org"),
    ],
)
def test_the_user_of_a_url_is_hidden_and_nothing_else_changes(text, expected):
    assert without_credentials(text) == expected


def test_nested_content_keeps_its_form():
    content = {"a": ["x://u:p@h", 1, None], "b": {"x://u:p@h": True}, "c": 0.5}
    assert without_credentials(content) == {"a": ["x://***@h", 1, None], "b": {"x://***@h": True}, "c": 0.5}


def test_a_password_in_a_urls_query_is_hidden_and_other_parameters_stay() -> None:
    url = "postgresql://localhost/db?user=me&password=SECRET&sslmode=require&sslpassword=OTHER"
    assert without_credentials(url) == "postgresql://localhost/db?user=me&password=***&sslmode=require&sslpassword=***"
