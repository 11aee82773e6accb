package io.winnow.examples.cli;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.SampleOptions;
import io.winnow.examples.report.Report;
import io.winnow.examples.report.result.ComparisonResult;
import io.winnow.examples.report.result.EvolutionResult;
import io.winnow.examples.report.result.PruningResult;
import io.winnow.examples.report.result.ReportFiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.IntSummaryStatistics;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow report}. */
@Command(
    name = "report",
    mixinStandardHelpOptions = true,
    description =
        "Draws what a model's experts do and what pruning, skipping and merging make of them, as a"
            + " page for the browser and as pictures.",
    footer = {
      "",
      "Example: everything that can be measured on two texts, for 4 experts a layer:",
      "  winnow report --model Mixtral-8x7B --calib code.txt --calib prose.txt \\",
      "      --retain 4 --out report",
      "From the reports of other commands, without the model:",
      "  winnow report --pruning r6.json --pruning r4.json \\",
      "      --evolution evolve.json --comparison compare.json --out report"
    })
final class ReportCommand implements Callable<Integer> {
  @ArgGroup(exclusive = false)
  private @Nullable ModelOptions model;

  @Option(
      names = "--calib",
      paramLabel = "FILE",
      description =
          "text to measure the model on: .txt, .jsonl or .safetensors, as for 'winnow prune'; may"
              + " be given several times")
  private List<Path> calib = new ArrayList<>();

  @Mixin private SampleOptions sample;

  @Option(
      names = "--retain",
      paramLabel = "R",
      description = "experts to keep in every layer (default: half of them)")
  private @Nullable Integer retain;

  @Option(
      names = "--pruning",
      paramLabel = "FILE.json",
      description = "a report of 'winnow prune --report'; may be given several times")
  private List<Path> pruning = new ArrayList<>();

  @Option(
      names = "--evolution",
      paramLabel = "FILE.json",
      description = "a report of 'winnow evolve --report'; may be given several times")
  private List<Path> evolution = new ArrayList<>();

  @Option(
      names = "--comparison",
      paramLabel = "FILE.json",
      description =
          "comparison.json, which 'winnow compare --out' wrote; may be given several times")
  private List<Path> comparison = new ArrayList<>();

  @Option(
      names = "--layers",
      split = ",",
      paramLabel = "LAYER",
      description =
          "decoder layers that get charts of their own, separated by commas (default: up to 8,"
              + " evenly spaced)")
  private List<Integer> layers = new ArrayList<>();

  @Option(
      names = "--out",
      required = true,
      paramLabel = "DIR",
      description = "folder to write, with report.html and the charts as .png")
  private Path out;

  @Override
  public Integer call() throws Exception {
    if (pruning.isEmpty() && evolution.isEmpty() && comparison.isEmpty() && calib.isEmpty()) {
      throw new InvalidInputException(
          "There is nothing to report; give --model with --calib, --pruning, --evolution or"
              + " --comparison");
    }
    if ((model == null) != calib.isEmpty()) {
      throw new InvalidInputException(
          "--model is measured on the texts of --calib; give both, or neither of them");
    }
    Outputs.requireNew("--out", out);
    System.setProperty("java.awt.headless", "true"); // Charts are pictures here, not windows.
    Report.Builder report =
        Report.builder(model == null ? "Pruning report" : "Experts of " + name(model.folder()))
            .optLayers(layers);
    List<PruningResult> pruned = pruning.stream().map(PruningResult::read).toList();
    evolution.stream().map(EvolutionResult::read).forEach(report::addEvolution);
    comparison.stream().map(ComparisonResult::read).forEach(report::addComparison);
    if (model != null) {
      measure(model, report);
    }
    pruned.forEach(report::addPruning);
    Report built = report.build();
    built.write(out);
    built.sectionTitles().forEach(System.out::println);
    System.out.println("Written to " + out.resolve("report.html"));
    return 0;
  }

  private static String name(Path folder) {
    return String.valueOf(folder.toAbsolutePath().normalize().getFileName());
  }

  private void measure(ModelOptions options, Report.Builder report) {
    ModelLimits limits = options.check();
    if (retain != null) {
      limits.checkRetain(retain);
    }
    Map<String, Calibration> texts = new LinkedHashMap<>();
    for (Path file : calib) {
      Calibration text = sample.read(options.folder(), file, limits);
      texts.put(distinct(ReportFiles.label(file), texts), text);
    }
    try (Model loaded = options.load()) {
      MoeModel moe = MoeModel.of(loaded);
      checkLayers(moe);
      facts(moe, report);
      int retained = retain == null ? half(moe) : retain;
      ReportMeasurement measurement = new ReportMeasurement(moe);
      texts.forEach(
          (name, text) -> {
            report.addFact("Text " + name, text.description());
            measurement
                .searches(name, text, retained, sample.seed())
                .forEach(
                    (r, result) -> {
                      if (r == retained) {
                        report.addPruning(result);
                      } else {
                        report.addCurvePoint(result);
                      }
                    });
            report.addPairs(measurement.pairs(name, text));
          });
      for (String name : texts.keySet()) {
        try {
          report.addSkipRates(measurement.skipRates(name, texts));
        } catch (InvalidInputException e) {
          report.addFact("Skipping", "not measured: " + e.getMessage());
          break; // The model is the reason, not the text.
        }
      }
    }
  }

  private void checkLayers(MoeModel moe) {
    List<Integer> there = moe.moeLayers().stream().map(MoeLayerView::layerIndex).toList();
    if (there.isEmpty()) {
      throw new InvalidInputException(
          "The model has no MoE layer, so that there is nothing to report");
    }
    if (!there.containsAll(layers)) {
      throw new InvalidInputException(
          "--layers is " + layers + ", but the MoE layers are " + there + "; choose of these");
    }
  }

  /** Two texts of the same name in different folders are two. */
  private static String distinct(String name, Map<String, ?> taken) {
    String distinct = name;
    for (int i = 2; taken.containsKey(distinct); i++) {
      distinct = name + " (" + i + ")";
    }
    return distinct;
  }

  /** Returns half of the experts, or the next number above that the routing can have. */
  private static int half(MoeModel moe) {
    Routing routing = moe.moeLayers().get(0).routing();
    int experts = experts(moe).getMin();
    int groups = routing.groups();
    int least = Math.max(routing.topK(), experts / 2);
    for (int retained = (least + groups - 1) / groups * groups; ; retained += groups) {
      if (retained >= experts || canRetain(routing, experts, retained)) {
        return Math.min(retained, experts);
      }
    }
  }

  private static boolean canRetain(Routing routing, int experts, int retained) {
    int size = experts / routing.groups();
    try {
      routing.retain(
          IntStream.range(0, experts)
              .filter(expert -> expert % size < retained / routing.groups())
              .toArray());
      return true;
    } catch (InvalidInputException e) {
      return false; // Such as groups scored by their best two, of which one expert would be left.
    }
  }

  private static IntSummaryStatistics experts(MoeModel moe) {
    return moe.moeLayers().stream().mapToInt(MoeLayerView::numExperts).summaryStatistics();
  }

  private static void facts(MoeModel moe, Report.Builder report) {
    IntSummaryStatistics experts = experts(moe);
    String each =
        experts.getMin() == experts.getMax()
            ? String.valueOf(experts.getMin())
            : experts.getMin() + " to " + experts.getMax();
    report
        .addFact(
            "Experts",
            String.format(
                "%s in each of %d layers, of which a token selects %d",
                each, experts.getCount(), moe.moeLayers().get(0).routing().topK()))
        .addFact("Checkpoint", moe.sourceDigest().orElse("of unknown digest"));
  }
}
