import pytest

from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, named_line, names_secret, whole_traceback


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
        ("'https:/me:s3cret@host/x.jsonl'", "'https:/***@host/x.jsonl'"),  # what a path makes of it
        ("/out/s3:/AKIA:s3cret@bucket/x: no", "/out/s3:/***@bucket/x: no"),
        ("hf://datasets/a/b@main/c", "hf://datasets/a/b@main/c"),
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


def test_the_value_of_a_variable_that_holds_a_secret_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-planted-123")
    monkeypatch.setenv("SOME_TOKEN", "short")
    monkeypatch.setenv("SOME_PLACE", "sk-no-secret-of-that-name")
    text = "sk-planted-123, short, sk-no-secret-of-that-name"
    assert without_credentials(text) == "***, short, sk-no-secret-of-that-name"
    error = UserError(f"refused: {text}", "try sk-planted-123")
    assert (error.message, error.hint) == ("refused: ***, short, sk-no-secret-of-that-name", "try ***")
    assert error.args == (error.message, error.hint)
    assert named_line(ValueError("sk-planted-123 is bad")) == "ValueError: *** is bad"


def test_errors_show_no_password_of_a_url() -> None:
    assert str(UserError("cannot read http://me:hidden@host/x?token=hidden", "")) == (
        "cannot read http://***@host/x?token=***"
    )
    try:
        raise ValueError("http://me:hidden@host")
    except ValueError as error:
        assert "hidden" not in whole_traceback(error).splitlines()[-1]


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "HF_TOKEN", "DB_PASS", "MY_PAT", "MYSQL_PWD", "PGPASSWORD", "AWS_CREDENTIALS", "MY_CREDS"),
        *("KEY_OF_MINE", "PASSPHRASE", "API_KEY_2", "apiKey", "AccessKeyId", "sslpassword", "X-Amz-Signature"),
    ],
)
def test_names_of_secrets_are_known_by_their_words(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    "name", ["AUTHOR", "KEYBOARD", "PATH", "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "MONKEY", "BYPASS", "user"]
)
def test_other_names_are_not_taken_for_those_of_secrets(name: str) -> None:
    assert not names_secret(name)
