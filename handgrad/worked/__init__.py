"""Worked examples: a sheet's numbers, computed again and judged one by one.

>>> from handgrad.worked import judge, load
>>> result = judge(load("two-layer-perceptron"))
>>> [p.printed for p in result.example.printed if p.verdict == "misprint"][:2]
['0.7986', '0.2247']
"""

from handgrad.worked._calculation import Calculation as Calculation
from handgrad.worked._checks import number_checks as number_checks
from handgrad.worked._checks import verdict_check as verdict_check
from handgrad.worked._judge import Judgement as Judgement
from handgrad.worked._judge import judge as judge
from handgrad.worked._judge import shipped_examples as shipped_examples
from handgrad.worked._sheet import Sheet as Sheet
from handgrad.worked._sheet import load as load
from handgrad.worked._sheet import shipped as shipped
