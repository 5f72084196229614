//! The report of a run: one HTML file that needs nothing else and can be sent to colleagues.

use crate::assets;
use crate::chart::ChartData;
use crate::format;
use crate::pages::finish;
use crate::phases::{Lane, WIDTH, lane};
use askama::Template;
use firedrill_model::report::RunReport;
use firedrill_model::{Operation, OperationKind};

#[derive(Template)]
#[template(path = "report.html")]
struct Report<'a> {
    report: &'a RunReport,
    operations: Vec<(&'a Operation, Option<Lane>)>,
    promotion: Option<&'a Operation>,
    chart_json: String,
    style: &'static str,
    uplot_style: &'static str,
    uplot: &'static str,
    charts: &'static str,
}

/// The page. Scripts, styles and data are inside it.
#[must_use]
pub fn html(report: &RunReport) -> String {
    let page = Report {
        report,
        operations: report.operations.iter().map(|operation| (operation, lane(operation))).collect(),
        promotion: report.operations.iter().find(|operation| operation.kind == OperationKind::Promotion),
        chart_json: ChartData::of(report).json(),
        style: assets::STYLE,
        uplot_style: assets::UPLOT_STYLE,
        uplot: assets::UPLOT,
        charts: assets::CHARTS,
    };
    finish(page.render())
}
