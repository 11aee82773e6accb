package io.winnow.examples.cli.run;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.examples.files.ModelLimits;
import io.winnow.examples.files.Outputs;
import io.winnow.examples.files.TextFormat;
import io.winnow.examples.files.TokenFiles;
import io.winnow.examples.options.ModelOptions;
import io.winnow.examples.options.SkipOptions;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code winnow forward}. */
@Command(
    name = "forward",
    mixinStandardHelpOptions = true,
    description =
        "Writes the logits and router logits of token ids, to be compared with other"
            + " implementations.",
    footer = {
      "",
      "Example: 'input_ids' [batch, length] in, 'logits' and 'router_logits.<layer>' out, float32:",
      "  winnow forward --model Mixtral-8x7B --input ids.safetensors --out logits.safetensors"
    })
final class ForwardCommand implements Callable<Integer> {
  @Mixin private ModelOptions model;

  @Mixin private SkipOptions skip;

  @Option(
      names = "--input",
      required = true,
      paramLabel = "FILE.safetensors",
      description = "token ids: a tensor 'input_ids' [batch, length]")
  private Path input;

  @Option(
      names = "--out",
      required = true,
      paramLabel = "FILE.safetensors",
      description = "file to write")
  private Path out;

  @Override
  public Integer call() {
    if (!TokenFiles.isTokens(input)) {
      throw new InvalidInputException(
          "--input is "
              + input
              + "; give token ids in a .safetensors file (tensor 'input_ids' [batch, length])");
    }
    Outputs.requireNew("--out", out);
    SkipPolicy policy = skip.policy();
    ModelLimits limits = model.check();
    TokenSequences sequences =
        TokenFiles.windows(
            model.folder(), input, TextFormat.DEFAULT, null, limits.maxPositions(), null);
    try (Model loaded = model.load()) {
      var unused = skip.install(loaded, policy);
      LanguageModel languageModel = LanguageModel.of(loaded);
      if (sequences.tokens() * languageModel.vocabularySize() > Integer.MAX_VALUE / 4) {
        throw new InvalidInputException(
            "The logits of "
                + sequences.tokens()
                + " tokens of a vocabulary of "
                + languageModel.vocabularySize()
                + " have 2 GiB or more; give fewer or shorter sequences");
      }
      List<OutputTensor> tensors = new ArrayList<>();
      try (NDManager manager = loaded.getNDManager().newSubManager()) {
        int count = sequences.count();
        Shape shape = new Shape(count, sequences.length());
        NDArray ids = manager.create(sequences.flatten(0, count), shape);
        List<OutputTensor> routers = new ArrayList<>();
        NDArray logits =
            languageModel.logits(
                ids,
                new ForwardObserver() {
                  @Override
                  public RoutingDecision onRouting(
                      MoeLayerView layer, float[] values, RoutingDecision decision) {
                    List<Long> dimensions =
                        List.of((long) decision.tokens(), (long) layer.numExperts());
                    routers.add(
                        OutputTensor.ofFloats(
                            "router_logits." + layer.layerIndex(), dimensions, values));
                    return decision;
                  }
                });
        List<Long> dimensions =
            List.of((long) count, (long) sequences.length(), (long) languageModel.vocabularySize());
        tensors.add(OutputTensor.ofFloats("logits", dimensions, logits.toFloatArray()));
        tensors.addAll(routers);
      }
      SafetensorsFile.write(out, tensors, Map.of());
      System.out.println("Written to " + out);
    }
    return 0;
  }
}
