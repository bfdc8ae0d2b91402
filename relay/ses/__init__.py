"""Amazon SES: credentials, quota, and the carrier that takes mail onward."""
