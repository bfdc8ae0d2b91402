"""Names that SES treats specially, as the SES Developer Guide lists them.

Names only; `rules` says what follows from being on a list.
"""

from __future__ import annotations

from typing import Final

# fmt: off

#: "Header fields in Amazon SES": these may occur only once.
SINGLE_INSTANCE_HEADERS: Final = (
    "Accept-Language", "acceptLanguage", "Archived-At", "Auto-Submitted", "Bounces-to", "Comments",
    "Content-Alternative", "Content-Base", "Content-Class", "Content-Description",
    "Content-Disposition", "Content-Duration", "Content-ID", "Content-Language", "Content-Length",
    "Content-Location", "Content-MD5", "Content-Transfer-Encoding", "Content-Type", "Date",
    "Delivered-To", "Disposition-Notification-Options", "Disposition-Notification-To",
    "DKIM-Signature", "DomainKey-Signature", "Errors-To", "From", "Importance", "In-Reply-To",
    "Keywords", "List-Archive", "List-Help", "List-Id", "List-Owner", "List-Post",
    "List-Subscribe", "List-Unsubscribe", "Message-Context", "Message-ID", "MIME-Version",
    "Organization", "Original-From", "Original-Message-ID", "Original-Recipient",
    "Original-Subject", "Precedence", "Priority", "References", "Reply-To", "Return-Path",
    "Return-Receipt-To", "Sender", "Solicitation", "Sensitivity", "Subject", "Thread-Index",
    "Thread-Topic", "User-Agent", "VBR-Info",
)

#: "Unsupported attachment types".
BLOCKED_EXTENSIONS: Final = frozenset({
    "ade", "adp", "app", "asp", "bas", "bat", "cer", "chm", "cmd", "com", "cpl", "crt", "csh",
    "der", "exe", "fxp", "gadget", "hlp", "hta", "inf", "ins", "isp", "its", "js", "jse", "ksh",
    "lib", "lnk", "mad", "maf", "mag", "mam", "maq", "mar", "mas", "mat", "mau", "mav", "maw",
    "mda", "mdb", "mde", "mdt", "mdw", "mdz", "msc", "msh", "msh1", "msh2", "mshxml", "msh1xml",
    "msh2xml", "msi", "msp", "mst", "ops", "pcd", "pif", "plg", "prf", "prg", "reg", "scf", "scr",
    "sct", "shb", "shs", "sys", "ps1", "ps1xml", "ps2", "ps2xml", "psc1", "psc2", "tmp", "url",
    "vb", "vbe", "vbs", "vps", "vsmacros", "vss", "vst", "vsw", "vxd", "ws", "wsc", "wsf", "wsh",
    "xnk",
})
