package io.winnow.examples.cli.prune;

import ai.djl.Model;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.options.CalibrationOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.ReportFileOptions;
import io.winnow.pruning.sparsify.SparsityPattern;
import io.winnow.pruning.sparsify.SparsityReport;
import io.winnow.pruning.sparsify.Wanda;
import io.winnow.pruning.sparsify.WandaMask;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow sparsify}. */
@Command(
    name = "sparsify",
    mixinStandardHelpOptions = true,
    description =
        "Makes single weights of experts zero (Wanda), the baseline of expert pruning. All experts"
            + " stay, and the files are as large as before.",
    footer = {
      "",
      "Example: two of every four weights, chosen on code:",
      "  winnow sparsify --model Mixtral-8x7B --calib code.txt --pattern 2:4 \\",
      "      --out Mixtral-8x7B-2to4 --report report.json"
    })
final class SparsifyCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private CalibrationOptions calibrationOptions;

  @Option(
      names = "--pattern",
      paramLabel = "P",
      defaultValue = "2:4",
      description =
          "2:4 (of every four successive weights of a row two become zero), or the share of each"
              + " row's weights, such as 0.5 (default: ${DEFAULT-VALUE})")
  private String pattern;

  @Mixin private OutFolderOptions out;
  @Mixin private ReportFileOptions report;

  @Override
  public Integer call() throws Exception {
    Wanda wanda =
        Wanda.builder()
            .setPattern(SparsityPattern.parse(pattern))
            .optSeed(calibrationOptions.seed())
            .optProgress(new ConsoleProgress())
            .build();
    report.check(out.folder());
    ModelLimits limits = model.check();
    out.checkNew(model.folder());
    MoeModels.checkMaskable(model.folder());
    Calibration calibration = calibrationOptions.read(model, limits);
    WandaMask mask;
    try (Model loaded = model.load()) {
      mask = wanda.calibrate(loaded, calibration);
    }
    SparsityReport result =
        mask.report(
            MoeModels.writeMasked(
                model.folder(), mask, mask.provenance(), out.folder(), new ConsoleProgress()));
    if (report.file() != null) {
      result.write(report.file());
    }
    System.out.print(table(result));
    out.printWritten();
    return 0;
  }

  private static String table(SparsityReport report) {
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            Locale.ROOT,
            "%-5s  %15s  %15s  %7s  %s%n",
            "layer",
            "expert weights",
            "zeros",
            "share",
            "by magnitude alone: no token"));
    for (SparsityReport.Layer layer : report.layers()) {
      long weights = layer.sparsity().weights();
      long zeros = layer.sparsity().zeros();
      table.append(
          String.format(
              Locale.ROOT,
              "%-5d  %,15d  %,15d  %5.1f %%  %s%n",
              layer.sparsity().layer(),
              weights,
              zeros,
              100.0 * zeros / weights,
              layer.unreached().isEmpty() ? "-" : layer.unreached()));
    }
    table.append(
        String.format(
            Locale.ROOT,
            "%s on %d tokens%nexperts: %,d bytes, as many as before%n",
            report.provenance().method(),
            report.calibrationTokens(),
            report.denseBytes()));
    report
        .compressedBytes()
        .ifPresent(
            bytes ->
                table.append(
                    String.format(
                        Locale.ROOT,
                        "         %,d in the 2:4 format of sparse tensor cores (computed, not"
                            + " written)%n",
                        bytes)));
    return table.toString();
  }
}
