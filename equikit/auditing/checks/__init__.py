"""Single questions about a function: modules, derivatives, curl, translations, padding; and a monitor for training."""

from equikit.auditing.checks._curl import curl_error as curl_error
from equikit.auditing.checks._estimate import Estimate as Estimate
from equikit.auditing.checks._modules import derivative_errors as derivative_errors, locate as locate
from equikit.auditing.checks._monitor import Entry as Entry, Monitor as Monitor
from equikit.auditing.checks._padding import padding_error as padding_error
from equikit.auditing.checks._translations import translation_error as translation_error
