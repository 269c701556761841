"""Reports: one record of a run, kept as JSON; Markdown, HTML and JUnit are views of it."""

from handgrad.report._errors import ReportError as ReportError
from handgrad.report.compare import Change as Change
from handgrad.report.compare import Comparison as Comparison
from handgrad.report.compare import compare as compare
from handgrad.report.grid import reduce_errors as reduce_errors
from handgrad.report.html import to_html as to_html
from handgrad.report.junit import to_junit as to_junit
from handgrad.report.markdown import to_markdown as to_markdown
from handgrad.report.record import Check as Check
from handgrad.report.record import Example as Example
from handgrad.report.record import Printed as Printed
from handgrad.report.record import Record as Record
from handgrad.report.record import Tally as Tally
from handgrad.report.schema import from_dict as from_dict
from handgrad.report.schema import from_json as from_json
from handgrad.report.schema import load as load
from handgrad.report.schema import schema as schema
from handgrad.report.schema import to_dict as to_dict
from handgrad.report.schema import to_json as to_json
from handgrad.report.text import to_text as to_text
from handgrad.report.write import write_atomically as write_atomically
from handgrad.report.write import write_reports as write_reports
