package io.winnow.examples.cli.train;

import ai.djl.Model;
import ai.djl.TrainingDivergedException;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.core.model.MoeModels;
import io.winnow.core.train.FineTuning;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.files.TokenFiles;
import io.winnow.examples.options.LengthOptions;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.OutFolderOptions;
import io.winnow.examples.options.SeedOptions;
import io.winnow.examples.options.TextFormatOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow finetune}. */
@Command(
    name = "finetune",
    mixinStandardHelpOptions = true,
    description =
        "Trains a pruned model on a text, so that it recovers what pruning took, and writes it in the"
            + " types of its folder.",
    footer = {
      "",
      "Example: with the model before pruning as teacher, for half an hour at most:",
      "  winnow finetune --model Mixtral-8x7B-r4 --teacher Mixtral-8x7B --text c4.txt \\",
      "      --minutes 30 --checkpoints training --out Mixtral-8x7B-r4-tuned"
    })
final class FineTuneCommand implements Callable<Integer> {
  /** Without a text of its own, one window of so many is for validation. */
  private static final int VALIDATION_SHARE = 8;

  /** Measurements to show of a long training. */
  private static final int LINES = 10;

  /** Which weights are trained. */
  enum Train {
    all(FineTuning.Trained.ALL),
    router(FineTuning.Trained.ROUTERS_AND_NORMS);

    private final FineTuning.Trained trained;

    Train(FineTuning.Trained trained) {
      this.trained = trained;
    }
  }

  @Mixin private ModelOptions model;

  @Option(
      names = "--text",
      required = true,
      arity = "1..*",
      paramLabel = "FILE",
      description = "what to learn from: " + TextFormatOptions.FILES)
  private List<Path> text = new ArrayList<>();

  @Option(
      names = "--validation",
      paramLabel = "FILE",
      description =
          "what to choose the best step by (default: the last eighth of each text, which is not"
              + " learnt from)")
  private @Nullable Path validation;

  @Mixin private TextFormatOptions format;
  @Mixin private LengthOptions length;

  @Option(
      names = "--teacher",
      paramLabel = "DIR",
      description = "a model whose expectations are learnt too, such as the one before pruning")
  private @Nullable Path teacher;

  @Option(
      names = "--distillation",
      paramLabel = "SHARE",
      defaultValue = "0.9",
      description = "the teacher's share of the loss, 0 to 1 (default: ${DEFAULT-VALUE})")
  private double distillation;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "1",
      description = "what both models' logits are divided by for it (default: ${DEFAULT-VALUE})")
  private double temperature;

  @Option(
      names = "--train",
      paramLabel = "WHAT",
      defaultValue = "all",
      description = "all weights, or router: routers and norms (default: ${DEFAULT-VALUE})")
  private Train train;

  @Option(
      names = "--steps",
      paramLabel = "N",
      defaultValue = "160",
      description = "steps to take (default: ${DEFAULT-VALUE})")
  private int steps;

  @Option(
      names = "--minutes",
      paramLabel = "M",
      description = "begin no step after this time (default: no limit)")
  private @Nullable Double minutes;

  @Option(
      names = "--batch",
      paramLabel = "B",
      defaultValue = "16",
      description = "windows that run at a time (default: ${DEFAULT-VALUE})")
  private int batch;

  @Option(
      names = "--accumulate",
      paramLabel = "A",
      defaultValue = "1",
      description = "batches that a step learns from (default: ${DEFAULT-VALUE})")
  private int accumulation;

  @Option(
      names = "--learning-rate",
      paramLabel = "RATE",
      defaultValue = "0.0005",
      description = "the highest learning rate (default: ${DEFAULT-VALUE})")
  private double learningRate;

  @Option(
      names = "--warm-up",
      paramLabel = "N",
      description = "steps over which it rises (default: a tenth of all)")
  private @Nullable Integer warmUp;

  @Option(
      names = "--clip",
      paramLabel = "NORM",
      defaultValue = "1",
      description = "the greatest norm of all gradients, 0 for any (default: ${DEFAULT-VALUE})")
  private double clip;

  @Option(
      names = "--weight-decay",
      paramLabel = "DECAY",
      defaultValue = "0.01",
      description = "by which share of the rate weights shrink (default: ${DEFAULT-VALUE})")
  private double weightDecay;

  @Option(
      names = "--interval",
      paramLabel = "N",
      defaultValue = "20",
      description =
          "steps between two measurements, each with a checkpoint (default: ${DEFAULT-VALUE})")
  private int interval;

  @Mixin private SeedOptions seed;

  @Option(
      names = "--checkpoints",
      paramLabel = "DIR",
      description = "write checkpoints here: the same command goes on from the last one")
  private @Nullable Path checkpoints;

  @Mixin private OutFolderOptions out;

  @Override
  public Integer call() throws Exception {
    FineTuning training = training();
    if (!model.isFloat32()) {
      throw new InvalidInputException(
          "Training computes in float32; leave --dtype out (the folder keeps its own types)");
    }
    ModelLimits limits = model.check();
    out.checkNew(model.folder());
    Outputs.requireOutside("--checkpoints", checkpoints, model.folder());
    if (teacher != null) {
      ModelLimits.of(teacher);
    }
    Texts texts = texts(limits);
    try (Model loaded = model.load();
        Model before = teacher == null ? null : model.loadFloat32(teacher)) {
      FineTuning.Result result = run(training, loaded, before, texts);
      Double ofTeacher = before == null ? null : Perplexity.of(before, texts.validation()).nll();
      MoeModel block = MoeModel.of(loaded);
      block.recordProvenance(
          new Provenance(
              before == null ? "fine-tuning" : "fine-tuning with distillation",
              texts.training().digest(),
              seed.seed(),
              block.sourceDigest().orElse(null)));
      MoeModels.save(loaded, out.folder(), new ConsoleProgress());
      System.out.print(table(result, ofTeacher, written(texts)));
      if (result.steps() < steps) {
        System.out.printf(
            "Stopped after %d of %d steps%s%n",
            result.steps(),
            steps,
            checkpoints == null ? "" : "; with another --out the same command goes on");
      }
      out.printWritten();
    }
    return 0;
  }

  private FineTuning training() {
    FineTuning.Builder builder =
        FineTuning.builder()
            .optSteps(steps)
            .optBatchSize(batch)
            .optAccumulation(accumulation)
            .optLearningRate(learningRate)
            .optClip(clip)
            .optWeightDecay(weightDecay)
            .optTrained(train.trained)
            .optDistillation(distillation, temperature)
            .optValidationInterval(interval)
            .optSeed(seed.seed())
            .optCheckpoints(checkpoints)
            .optProgress(new ConsoleProgress());
    if (warmUp != null) {
      builder.optWarmUp(warmUp);
    }
    if (minutes != null) {
      if (!(minutes > 0 && minutes < 1e6)) {
        throw new InvalidInputException("--minutes is " + minutes + "; use more than 0");
      }
      builder.optTimeLimit(Duration.ofMillis(Math.round(minutes * 60_000)));
    }
    return builder.build();
  }

  /** Windows to learn from, and others to choose the step by. */
  private record Texts(TokenSequences training, TokenSequences validation) {}

  private Texts texts(ModelLimits limits) {
    List<long[]> learnt = new ArrayList<>();
    List<long[]> kept = new ArrayList<>();
    for (Path file : text) {
      TokenSequences windows = windows(file, limits);
      int first =
          validation == null
              ? windows.count() - windows.count() / VALIDATION_SHARE
              : windows.count();
      for (int i = 0; i < windows.count(); i++) {
        (i < first ? learnt : kept).add(windows.sequence(i));
      }
    }
    if (validation == null && kept.isEmpty()) {
      throw new InvalidInputException(
          "No text has "
              + VALIDATION_SHARE
              + " windows, of which one would be for validation; use more text, a shorter --length,"
              + " or --validation");
    }
    return new Texts(
        TokenSequences.of(learnt.toArray(long[][]::new)),
        validation == null
            ? TokenSequences.of(kept.toArray(long[][]::new))
            : windows(validation, limits));
  }

  private TokenSequences windows(Path file, ModelLimits limits) {
    return TokenFiles.windows(
        model.folder(), file, format.format(), length.length(), limits.maxPositions(), null);
  }

  private static FineTuning.Result run(
      FineTuning training, Model loaded, @Nullable Model teacher, Texts texts) {
    try {
      return teacher == null
          ? training.run(loaded, texts.training(), texts.validation())
          : training.run(loaded, teacher, texts.training(), texts.validation());
    } catch (TrainingDivergedException e) {
      throw new InvalidInputException(e.getMessage() + "; use a lower --learning-rate", e);
    }
  }

  /** Measures what was written, whose weights may be rounded. */
  private double written(Texts texts) {
    try (Model loaded = model.loadFloat32(out.folder())) {
      return Perplexity.of(loaded, texts.validation()).nll();
    }
  }

  private static String table(
      FineTuning.Result result, @Nullable Double ofTeacher, double written) {
    double start = result.history().get(0).validationLoss();
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            "%-24s  %10s  %8s  %9s%n", "validation text", "perplexity", "change", "recovered"));
    int last = result.history().size() - 1;
    int every = Math.max(1, (last + LINES - 1) / LINES);
    for (int i = 0; i <= last; i++) {
      FineTuning.Measurement measurement = result.history().get(i);
      if (i % every == 0 || i == last || measurement.step() == result.step()) {
        line(
            table,
            measurement.step() == 0 ? "start" : "step " + measurement.step(),
            measurement.validationLoss(),
            start,
            ofTeacher);
      }
    }
    line(table, "written (step " + result.step() + ")", written, start, ofTeacher);
    if (ofTeacher != null) {
      line(table, "teacher", ofTeacher, start, ofTeacher);
    }
    return table.toString();
  }

  /** A line; recovered is the share of the log-perplexity between start and teacher. */
  private static void line(
      StringBuilder table, String what, double loss, double start, @Nullable Double ofTeacher) {
    table.append(
        String.format(
            Locale.ROOT,
            "%-24s  %10.4f  %+6.2f %%  %9s%n",
            what,
            Math.exp(loss),
            100 * Math.expm1(loss - start),
            ofTeacher == null || ofTeacher >= start
                ? "-"
                : String.format(
                    Locale.ROOT, "%.1f %%", 100 * (start - loss) / (start - ofTeacher))));
  }
}
