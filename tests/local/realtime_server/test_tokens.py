import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.realtime_server.tokens import Keyring, TokenRefused, is_api_key

SECRET = "a secret of at least thirty-two bytes"
KEYRING = Keyring(SECRET, "sb_publishable_x", "sb_secret_x")
NOW = 1_000_000.0


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    return jwt.encode({"role": "authenticated", "exp": NOW + 60, **claims}, secret, algorithm=algorithm)


def test_the_keys_stand_for_roles_and_do_not_expire() -> None:
    for key, role in (("sb_publishable_x", "anon"), ("sb_secret_x", "service_role")):
        claims = KEYRING.claims_of_key(key, NOW)
        assert (claims.role, claims.expires_at, is_api_key(key)) == (role, None, True)


@given(st.integers(1, 10**9))
def test_a_token_is_valid_until_its_expiry_and_not_at_it(lasts_s: int) -> None:
    mine = token(exp=NOW + lasts_s)
    assert KEYRING.claims_of_token(mine, NOW + lasts_s - 0.001).expires_at == NOW + lasts_s
    with pytest.raises(TokenRefused, match=r"^InvalidJWTToken: Token has expired 3 seconds ago$"):
        KEYRING.claims_of_token(mine, NOW + lasts_s + 3)


def test_a_jwt_may_be_the_key() -> None:
    assert KEYRING.claims_of_key(token(role="anon"), NOW).role == "anon"


def test_only_signature_role_and_expiry_count() -> None:
    odd = token(aud="elsewhere", iat=NOW + 10**6, nbf=NOW + 10**6, sub="x", iss="somebody")
    assert KEYRING.claims_of_token(odd, NOW).role == "authenticated"


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (token(secret="another secret of thirty-two bytes"), "JwtSignatureError: "),
        (token(algorithm="HS512", secret=SECRET * 2), "JwtSignerError: "),
        (token(role=None), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"),
        (token(exp=None), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"),
        ("", "MalformedJWT: "),
        ("a.b.c", "MalformedJWT: "),
        (jwt.encode({"role": "service_role", "exp": NOW + 60}, "", algorithm="none"), "JwtSignerError: "),
    ],
)
def test_any_other_token_is_refused_with_a_reason(refused: str, reason: str) -> None:
    with pytest.raises(TokenRefused) as refusal:
        KEYRING.claims_of_token(refused, NOW)
    assert str(refusal.value).startswith(reason)


def test_equal_content_makes_equal_claims() -> None:
    one, same = (KEYRING.claims_of_token(mine, NOW) for mine in (token(a=1, b=2), token(b=2, a=1)))
    assert one == same
    assert hash(one) == hash(same)
    assert one != KEYRING.claims_of_token(token(a=1, b=3), NOW)
