package io.winnow.examples.console;

import io.winnow.pruning.shrink.ShrinkReport;
import java.util.Locale;

/** A report of shrinking as a table of text. */
public final class ShrinkTable {
  private ShrinkTable() {}

  /** Returns a line for the full model, and one for everything that was tried. */
  public static String of(ShrinkReport report) {
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            Locale.ROOT,
            "%-22s  %7s  %6s  %10s  %9s  %8s  %8s  %10s%n",
            "candidate",
            "experts",
            "width",
            "MB",
            "MB/token",
            "KL",
            "top-1",
            "perplexity"));
    table.append(line(report.full(), ""));
    for (ShrinkReport.Candidate candidate : report.candidates()) {
      table.append(line(candidate, candidate.equals(report.best()) ? "  <- written" : ""));
    }
    table.append(
        String.format(
            Locale.ROOT,
            "within %s; compared on %d tokens that nothing was fitted to; %.1f s%n",
            report.limit(),
            report.comparedTokens(),
            report.time().toMillis() / 1000.0));
    return table.toString();
  }

  private static String line(ShrinkReport.Candidate candidate, String mark) {
    return String.format(
        Locale.ROOT,
        "%-22s  %7d  %6d  %10.2f  %9.2f  %8.4f  %6.1f %%  %10.3f%s%n",
        candidate.name(),
        candidate.experts(),
        candidate.width(),
        candidate.fileBytes() / 1e6,
        candidate.bytesPerToken() / 1e6,
        candidate.divergence(),
        100 * candidate.agreement(),
        candidate.perplexity(),
        mark);
  }
}
