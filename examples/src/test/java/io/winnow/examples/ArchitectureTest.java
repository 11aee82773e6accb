package io.winnow.examples;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.type;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.core.importer.Location;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;
import io.winnow.core.internal.kernel.fused.MatrixProducts;
import io.winnow.core.internal.routing.RetainedExperts;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.ExpertMask;
import io.winnow.core.model.ExpertMatrix;
import io.winnow.core.model.LayerSparsity;
import io.winnow.core.model.MoeModels;
import java.util.Collection;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.stream.BaseStream;

/** The rooms of the house, and which may know which. */
@AnalyzeClasses(
    packages = "io.winnow",
    importOptions = {ImportOption.DoNotIncludeTests.class, ArchitectureTest.NoTestJars.class})
class ArchitectureTest {
  /** The tests of core come as a jar. */
  static final class NoTestJars implements ImportOption {
    @Override
    public boolean includes(Location location) {
      return !location.contains("-tests.jar");
    }
  }

  /** Of core, what knows no model: small files of ours, and what runs it. */
  private static final String[] SMALL_HELPERS = {
    "io.winnow.core.internal.file..", "io.winnow.core.internal.environment.."
  };

  private static final DescribedPredicate<JavaClass> MATRIX_PRODUCTS =
      type(MatrixProducts.class).or(type(MatrixProducts.Product.class));

  @ArchTest
  static final ArchRule coreKnowsNobody =
      noClasses()
          .that()
          .resideInAPackage("io.winnow.core..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              "io.winnow.pruning..", "io.winnow.skipping..", "io.winnow.examples..");

  @ArchTest
  static final ArchRule pruningAndSkippingDoNotKnowEachOther =
      slices()
          .matching("io.winnow.(pruning|skipping)..")
          .should()
          .notDependOnEachOther()
          .allowEmptyShould(true);

  @ArchTest
  static final ArchRule nobodyKnowsTheExamples =
      noClasses()
          .that()
          .resideOutsideOfPackage("io.winnow.examples..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("io.winnow.examples..");

  @ArchTest
  static final ArchRule kernelsAreForTheDecoderAndWhatUsesItsCacheOnly =
      noClasses()
          .that()
          .resideOutsideOfPackages(
              "io.winnow.core.internal..",
              "io.winnow.core.model..",
              "io.winnow.core.train..",
              "io.winnow.core.generate..",
              "io.winnow.core.evaluate..")
          .should()
          .dependOnClassesThat(
              resideInAPackage("io.winnow.core.internal.kernel..").and(not(MATRIX_PRODUCTS)))
          .because("of kernels, benchmarks see only how long matrix products take");

  @ArchTest
  static final ArchRule onlyKernelsKnowTheEngine =
      noClasses()
          .that()
          .resideOutsideOfPackage("io.winnow.core.internal.kernel..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("ai.djl.pytorch..");

  @ArchTest
  static final ArchRule checkpointsAreReadWithoutAnEngine =
      noClasses()
          .that()
          .resideInAnyPackage(
              "io.winnow.core.internal.file..",
              "io.winnow.core.internal.safetensors..",
              "io.winnow.core.internal.checkpoint..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("ai.djl.ndarray..", "ai.djl.nn..", "ai.djl.engine..");

  @ArchTest
  static final ArchRule pruningSeesModelsOnlyThroughTheSeam =
      noClasses()
          .that()
          .resideInAPackage("io.winnow.pruning..")
          .should()
          .dependOnClassesThat(
              resideInAnyPackage("io.winnow.core.model..", "io.winnow.core.internal..")
                  .and(not(resideInAnyPackage(SMALL_HELPERS)))
                  .and(not(resideInAnyPackage("io.winnow.core.internal.fit..")))
                  .and(not(type(MoeModels.class)))
                  .and(not(type(MoeModels.Loader.class)))
                  .and(not(type(ExpertMask.class)))
                  .and(not(type(ExpertMatrix.class)))
                  .and(not(type(LayerSparsity.class)))
                  .and(not(type(RetainedExperts.class)))
                  .and(not(type(SafetensorsFile.class)))
                  .and(not(type(OutputTensor.class))))
          .because(
              "a checkpoint is opened by MoeModels, and seen through LayerwiseModel; masks are values,"
                  + " safetensors files are for statistics too, and a fit is arithmetic");

  @ArchTest
  static final ArchRule onlyStreamingPruningAndShrinkingOpenCheckpoints =
      noClasses()
          .that()
          .resideInAPackage("io.winnow.pruning..")
          .and()
          .resideOutsideOfPackage("io.winnow.pruning.shrink")
          .and()
          .doNotHaveSimpleName("StreamingPruner")
          .should()
          .dependOnClassesThat()
          .areAssignableTo(MoeModels.class);

  @ArchTest
  static final ArchRule theLibraryStartsNoThread =
      noClasses()
          .that()
          .resideOutsideOfPackage("io.winnow.examples..")
          .should()
          .callMethod(Thread.class, "start")
          .orShould()
          .dependOnClassesThat()
          .areAssignableTo(ForkJoinPool.class)
          .orShould()
          .dependOnClassesThat()
          .areAssignableTo(Executors.class)
          .orShould()
          .callMethod(Collection.class, "parallelStream")
          .orShould()
          .callMethod(BaseStream.class, "parallel");

  @ArchTest
  static final ArchRule commandsArePrivateToTheirRooms =
      classes()
          .that()
          .resideInAPackage("io.winnow.examples..")
          .and()
          .haveSimpleNameEndingWith("Command")
          .should()
          .bePackagePrivate();

  @ArchTest
  static final ArchRule roomsOfTheExamplesAreFreeOfCycles =
      slices().matching("io.winnow.examples.(**)").should().beFreeOfCycles();

  @ArchTest
  static final ArchRule waysOfUseCanBePasted =
      noClasses()
          .that()
          .resideInAPackage("io.winnow.examples")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("io.winnow.examples.*..")
          .orShould()
          .dependOnClassesThat()
          .resideInAnyPackage("picocli..", "com.hazelcast..", "org.knowm..", "com.google..")
          .because("each is one file that needs the library and DJL alone");

  @ArchTest
  static final ArchRule onlyTheEntryKnowsTheRoomsOfCommands =
      noClasses()
          .that()
          .resideInAnyPackage("io.winnow.examples.cli.*..", "io.winnow.examples.bench..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("io.winnow.examples.cli")
          .orShould()
          .dependOnClassesThat()
          .haveNameMatching(".*\\.cli\\.\\w+\\.\\w+Commands");

  @ArchTest
  static final ArchRule whatCommandsShareIsBelowThem =
      noClasses()
          .that()
          .resideInAnyPackage(
              "io.winnow.examples.options..",
              "io.winnow.examples.files..",
              "io.winnow.examples.console..",
              "io.winnow.examples.task..",
              "io.winnow.examples.comparison..",
              "io.winnow.examples.report..",
              "io.winnow.examples.cluster..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              "io.winnow.examples.cli..", "io.winnow.examples.bench..", "io.winnow.examples");

  @ArchTest
  static final ArchRule reportsAndWorkersKnowNoOptions =
      noClasses()
          .that()
          .resideInAnyPackage("io.winnow.examples.report..", "io.winnow.examples.cluster..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              "picocli..",
              "io.winnow.examples.options..",
              "io.winnow.examples.files..",
              "io.winnow.examples.console..",
              "io.winnow.examples.task..",
              "io.winnow.examples.comparison..");

  @ArchTest
  static final ArchRule onlyWorkersAndTheirCommandsKnowHazelcast =
      noClasses()
          .that()
          .resideOutsideOfPackages("io.winnow.examples.cluster..", "io.winnow.examples.cli.train..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("com.hazelcast..");

  @ArchTest
  static final ArchRule onlyChartsDraw =
      noClasses()
          .that()
          .resideOutsideOfPackage("io.winnow.examples.report.chart..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("org.knowm..");

  @ArchTest
  static final ArchRule whatUsersGetHasNoJmh =
      noClasses().should().dependOnClassesThat().resideInAPackage("org.openjdk.jmh..");
}
