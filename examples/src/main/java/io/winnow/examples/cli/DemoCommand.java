package io.winnow.examples.cli;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import com.google.common.base.Stopwatch;
import com.google.common.io.MoreFiles;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.console.ReportTable;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.TextFormat;
import io.winnow.examples.files.TokenFiles;
import io.winnow.examples.options.HomeOptions;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import io.winnow.skipping.SkipStatistics;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code winnow demo}. */
@Command(
    name = "demo",
    mixinStandardHelpOptions = true,
    description =
        "Prunes the bundled small model from 8 to 6 experts a layer, skips experts while generating, and"
            + " shows what that does.",
    footer = {"", "Example:", "  winnow demo"})
final class DemoCommand implements Callable<Integer> {
  private static final int RETAIN = 6;
  private static final int SEQUENCES = 64;
  private static final int LENGTH = 256;
  private static final int WINDOWS = 64;
  private static final int NEW_TOKENS = 48;
  private static final int SPEED_RUNS = 5;
  private static final List<String> PROMPTS =
      List.of("def test_", "    def __init__(self", "The compiler");

  @Mixin private HomeOptions home;

  @Override
  public Integer call() throws Exception {
    Path source = home.folder().resolve("demo").resolve("tiny-mixtral");
    Path text = home.folder().resolve("demo").resolve("text");
    Path target =
        home.folder().resolve("target").resolve("demo").resolve("tiny-mixtral-r" + RETAIN);
    ModelLimits.of(source);
    if (Files.exists(target)) {
      MoreFiles.deleteRecursively(target);
    }
    Files.createDirectories(target.getParent());
    Outcome before;
    Outcome after;
    try (TextTokenizer tokenizer = TextTokenizer.open(source)) {
      TokenSequences code = windows(source, text.resolve("code.valid.txt"));
      TokenSequences prose = windows(source, text.resolve("prose.valid.txt"));
      Calibration calibration =
          Calibration.ofText(tokenizer, text.resolve("code.calib.txt"), SEQUENCES, LENGTH);
      try (Model model = load(source)) {
        before = outcome(source, model, tokenizer, calibration, code, prose);
        System.err.println("Calibrating on code: " + calibration.description());
        PruningReport report = ExpertPruner.prune(model, calibration, RETAIN);
        MoeModels.save(model, target);
        System.out.println("What was removed, chosen on code:");
        System.out.print(ReportTable.of(report));
      }
      System.err.println("Reloading " + target);
      try (Model model = load(target)) {
        after = outcome(target, model, tokenizer, calibration, code, prose);
      }
    }
    System.out.println();
    System.out.print(table(before, after));
    System.out.println();
    for (int i = 0; i < PROMPTS.size(); i++) {
      show(before.texts().get(i), before.experts());
      show(after.texts().get(i), after.experts());
    }
    System.out.println("The smaller model is in " + target);
    return 0;
  }

  private static Model load(Path folder) {
    return MoeModels.loader(folder).optDevice(Device.cpu()).optDataType(DataType.FLOAT32).load();
  }

  private static TokenSequences windows(Path model, Path text) {
    return TokenFiles.windows(model, text, TextFormat.DEFAULT, LENGTH, LENGTH, WINDOWS);
  }

  /** What the demonstration compares. */
  private record Outcome(
      int experts,
      long bytes,
      double codePerplexity,
      double prosePerplexity,
      double evaluationSeconds,
      double tokensPerSecond,
      List<String> texts,
      SkipStatistics skipped,
      double codePerplexitySkipping,
      double tokensPerSecondSkipping) {}

  private static Outcome outcome(
      Path folder,
      Model model,
      TextTokenizer tokenizer,
      Calibration calibration,
      TokenSequences code,
      TokenSequences prose) {
    System.err.println("Evaluating " + folder.getFileName());
    Stopwatch time = Stopwatch.createStarted();
    double codePerplexity = Perplexity.of(model, code).perplexity();
    double prosePerplexity = Perplexity.of(model, prose).perplexity();
    double evaluation = time.elapsed().toNanos() / 1e9;
    Generator generator = Generator.of(model).withTokenizer(tokenizer);
    GenerationConfig config = GenerationConfig.greedy(NEW_TOKENS);
    List<String> texts =
        PROMPTS.stream()
            .map(prompt -> prompt + generator.generate(prompt, config).text().orElseThrow())
            .toList();
    double tokensPerSecond = tokensPerSecond(model, tokenizer);
    MoeModel moe = MoeModel.of(model);
    SkipPolicy policy = SkipPolicy.calibrate(model, calibration);
    SkipCounter counter = new SkipCounter();
    moe.routerHooks().set(policy.asHook(counter));
    double skippingPerplexity = Perplexity.of(model, code).perplexity();
    moe.routerHooks().set(policy.asHook());
    double skippingTokensPerSecond = tokensPerSecond(model, tokenizer);
    moe.routerHooks().set(null);
    return new Outcome(
        moe.moeLayers().get(0).numExperts(),
        Checkpoint.open(folder).bytes(),
        codePerplexity,
        prosePerplexity,
        evaluation,
        tokensPerSecond,
        texts,
        counter.snapshot(),
        skippingPerplexity,
        skippingTokensPerSecond);
  }

  private static double tokensPerSecond(Model model, TextTokenizer tokenizer) {
    long[] prompt = tokenizer.encode(PROMPTS.get(0));
    Generator endless = Generator.of(model).withEndTokens(Set.of());
    Stopwatch time = Stopwatch.createStarted();
    for (int i = 0; i < SPEED_RUNS; i++) {
      endless.generate(prompt, NEW_TOKENS);
    }
    return SPEED_RUNS * NEW_TOKENS / (time.elapsed().toNanos() / 1e9);
  }

  private static String table(Outcome before, Outcome after) {
    StringBuilder table = new StringBuilder();
    row(table, "", "before", "after", "change");
    row(table, "experts per layer", before.experts(), after.experts(), "%.0f");
    row(table, "checkpoint, MB", before.bytes() / 1e6, after.bytes() / 1e6, "%.2f");
    row(table, "perplexity on code", before.codePerplexity(), after.codePerplexity(), "%.2f");
    row(table, "perplexity on prose", before.prosePerplexity(), after.prosePerplexity(), "%.2f");
    row(
        table,
        "evaluation, seconds",
        before.evaluationSeconds(),
        after.evaluationSeconds(),
        "%.2f");
    row(table, "tokens per second", before.tokensPerSecond(), after.tokensPerSecond(), "%.0f");
    table.append(String.format("and with about half of the second experts skipped:%n"));
    row(
        table,
        "perplexity on code",
        before.codePerplexitySkipping(),
        after.codePerplexitySkipping(),
        "%.2f");
    row(
        table,
        "tokens per second",
        before.tokensPerSecondSkipping(),
        after.tokensPerSecondSkipping(),
        "%.0f");
    for (int i = 0; i < before.skipped().layers().size(); i++) {
      SkipStatistics.Layer layer = before.skipped().layers().get(i);
      row(
          table,
          "skipped in layer " + layer.layer() + ", %",
          100 * layer.rate(),
          100 * after.skipped().layers().get(i).rate(),
          "%.1f");
    }
    return table.toString();
  }

  private static void row(
      StringBuilder table, String name, double before, double after, String format) {
    row(
        table,
        name,
        String.format(Locale.ROOT, format, before),
        String.format(Locale.ROOT, format, after),
        String.format(Locale.ROOT, "%+.1f %%", 100 * (after / before - 1)));
  }

  private static void row(
      StringBuilder table, String name, String before, String after, String change) {
    table.append(
        String.format(Locale.ROOT, "%-22s  %10s  %10s  %10s%n", name, before, after, change));
  }

  private static void show(String text, int experts) {
    System.out.println("--- " + experts + " experts:");
    System.out.println(text);
  }
}
