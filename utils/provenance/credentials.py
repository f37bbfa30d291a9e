"""Who signs: a certificate and its key, the user's own or ones that are made for this run and forgotten with it.

Self-made ones prove that a file is as it was written, not who wrote it. Nothing of them is kept: there is no key to steal, and results
cannot be told to come from one user. Their dates do not depend on the clock. Source: C2PA 2.2, section 14.5, for what a certificate needs.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from utils.errors import BadArgument, UnreadableInput

LOCAL_ISSUER = "self-made on the user's machine"
LOCAL_SIGNER = "unknown user of ghost-face-swap"
VALID_FROM = datetime.datetime(2020, 1, 1)
VALID_TO = datetime.datetime(9999, 12, 31, 23, 59, 59)  # RFC 5280, 4.1.2.5: no well-defined end
EC_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """What signs a manifest.

    Attributes:
        algorithm: C2PA's name of the signature algorithm: es256, es384, es512, ps256 or ed25519.
        chain: PEM, the signer's certificate first, then those that issued each other.
        key: PEM, PKCS #8, not encrypted.
    """

    algorithm: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Credentials({self.algorithm})"  # a key has no place in logs


@cache
def local_credentials() -> Credentials:
    """Self-made ones, the same as long as the process lives: an EC P-256 key under an authority of its own."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, name = _name(f"authority {LOCAL_ISSUER}"), _name(LOCAL_SIGNER)
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _certificate(issuer, issuer)
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _certificate(name, issuer)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    chain = leaf.public_bytes(pem) + authority.public_bytes(pem)
    plain = serialization.NoEncryption()
    return Credentials("es256", chain, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def read_credentials(certificate_path: Path, key_path: Path) -> Credentials:
    """The user's own.

    Args:
        certificate_path: PEM, the signer's certificate first, then those that issued each other.
        key_path: PEM, not encrypted.

    Raises:
        UnreadableInput: if a file cannot be read, or holds something else.
        BadArgument: if they do not belong together, are not valid now, or are of a kind that C2PA does not know.
    """
    chain, key_bytes = _read_small(certificate_path), _read_small(key_path)
    certificates = _certificates(chain, certificate_path)
    try:
        key = serialization.load_pem_private_key(key_bytes, password=None)
    except TypeError as error:
        raise BadArgument(
            f"{str(key_path)!r} is protected by a password; store it without one: openssl pkey -in FILE -out FILE2"
        ) from error
    except UnsupportedAlgorithm as error:
        raise _of_foreign_kind(key_path) from error
    except ValueError as error:
        raise UnreadableInput(f"{str(key_path)!r} is no private key in PEM format; export it as PEM") from error
    if _public_key(certificates[0], certificate_path) != key.public_key():
        raise BadArgument(
            f"{str(key_path)!r} is not the key of the first certificate in {str(certificate_path)!r}; "
            "give the two that belong together, the signer's certificate before those of its issuers"
        )
    _check_dates(certificates[0], certificate_path)
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return Credentials(_algorithm(key, key_path), chain, pem)


def read_authorities(path: Path) -> bytes:
    """Certificates of those who are trusted to name signers, PEM.

    Raises:
        UnreadableInput: if the file cannot be read, or holds something else.
    """
    content = _read_small(path)
    _certificates(content, path)
    return content


def _certificates(content: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise UnreadableInput(f"{str(path)!r} is no certificate in PEM format; export it as PEM") from error


def _public_key(certificate: x509.Certificate, path: Path) -> CertificatePublicKeyTypes:
    try:
        return certificate.public_key()
    except (
        ValueError,
        UnsupportedAlgorithm,
    ) as error:  # read only now: a curve or parameters that the library does not know
        raise _of_foreign_kind(path) from error


def _read_small(path: Path) -> bytes:
    """The content of a file of certificates or keys."""
    try:
        if path.exists() and not path.is_file():
            raise UnreadableInput(f"{str(path)!r} is not a file; give a PEM file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableInput(f"cannot read {str(path)!r} ({error.strerror or error}); check the path") from error
    if len(content) > MOST_BYTES:
        raise UnreadableInput(f"{str(path)!r} is too large for certificates; give a PEM file")
    return content


def _algorithm(key: object, path: Path) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in EC_ALGORITHMS:
        return EC_ALGORITHMS[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise _of_foreign_kind(path)


def _of_foreign_kind(path: Path) -> BadArgument:
    return BadArgument(
        f"C2PA does not sign with the kind of key in {str(path)!r}; use EC P-256, RSA from 2048 bits or Ed25519"
    )


def _check_dates(certificate: x509.Certificate, path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise BadArgument(
            f"{str(path)!r} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; renew it, or set the clock"
        )


def _name(text: str) -> x509.Name:
    # C2PA wants to show an organisation.
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, LOCAL_ISSUER),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, text),
        ]
    )


def _certificate(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(VALID_FROM).not_valid_after(VALID_TO)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
