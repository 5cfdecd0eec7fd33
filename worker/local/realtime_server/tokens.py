"""Who a client is (pure): from an API key or a JWT to claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from jwt.types import Options

from worker.local.realtime_server.protocol import to_json

API_KEY_PREFIX = "sb_"
# Only the signature and the expiry count, as on the real server; the expiry is read by us, against the caller's clock.
CHECKS: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class TokenRefused(Exception):
    """`code: message` is what the real server answers a join with."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.message = message


@dataclass(frozen=True, slots=True)
class Claims:
    """Equal claims see the same rows, so their JSON is what visibility is asked for."""

    json: str
    role: str = field(compare=False)
    expires_at: float | None = field(compare=False)  # seconds since 1970; API keys do not expire


def claims_from(content: Mapping[str, Any], role: str, expires_at: float | None) -> Claims:
    return Claims(to_json(dict(sorted(content.items()))), role, expires_at)


class Keyring:
    """The project's keys."""

    def __init__(self, jwt_secret: str, publishable_key: str, secret_key: str) -> None:
        self._jwt_secret = jwt_secret
        roles = {publishable_key: "anon", secret_key: "service_role"}
        self._keys = {key: claims_from({"role": role}, role, None) for key, role in roles.items()}

    def claims_of_key(self, key: str, at: float) -> Claims:
        """Of an API key, which may also be one of the older kind, a JWT."""
        return self._keys.get(key) or self.claims_of_token(key, at)

    def claims_of_token(self, token: str, at: float) -> Claims:
        """TokenRefused unless it is signed by this project and still valid at this time (seconds since 1970)."""
        try:
            content = jwt.decode(token, self._jwt_secret, algorithms=["HS256"], options=CHECKS)
        except jwt.InvalidSignatureError as error:
            raise TokenRefused("JwtSignatureError", "Failed to validate JWT signature") from error
        except jwt.InvalidAlgorithmError as error:
            raise TokenRefused("JwtSignerError", "Only HS256 is served by this server") from error
        except jwt.InvalidTokenError as error:
            raise TokenRefused("MalformedJWT", "The token provided is not a valid JWT") from error
        role, expires_at = content.get("role"), content.get("exp")
        if not isinstance(role, str) or not isinstance(expires_at, int | float):
            raise TokenRefused("InvalidJWTToken", "Fields `role` and `exp` are required in JWT")
        if expires_at <= at:
            raise TokenRefused("InvalidJWTToken", f"Token has expired {int(at - expires_at)} seconds ago")
        return claims_from(content, role, float(expires_at))


def is_api_key(token: object) -> bool:
    """Clients put their key where a user's token would be; the connection's key counts then."""
    return isinstance(token, str) and token.startswith(API_KEY_PREFIX)
