"""What of the documentation is made from the code: options, commands, schemas, pictures; and the site's hooks."""
