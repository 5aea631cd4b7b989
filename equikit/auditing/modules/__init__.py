"""Find the first module of a model that breaks its symmetry, or that has a wrong derivative."""

from equikit.auditing.modules._derivatives import DerivativeReport as DerivativeReport
from equikit.auditing.modules._locate import located as located, study as study
from equikit.auditing.modules._report import ModuleReport as ModuleReport, ModuleRow as ModuleRow
